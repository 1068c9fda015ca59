{{/* Names and labels. Nothing else in the chart invents one. */}}

{{- define "sorcha-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters, so that "-metrics" and "-smoke-test" fit behind it into the 63 of a DNS label. */}}
{{- define "sorcha-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "sorcha-operator.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sorcha-operator.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of objects that belong to no namespace: two releases of one name in two namespaces do not meet. */}}
{{- define "sorcha-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "sorcha-operator.fullname" .) -}}
{{- end -}}

{{/* Labels by which the operator's pods are found. Never changed: a Deployment's selector cannot be. */}}
{{- define "sorcha-operator.selector" -}}
app.kubernetes.io/name: {{ include "sorcha-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object. Called with (list <root> <component>). */}}
{{- define "sorcha-operator.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "sorcha-operator.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/part-of" "sorcha"
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) $own) -}}
{{- end -}}

{{/* Name, namespace, labels and annotations of an object. Called with
(dict "root" $ "name" <name> "namespace" <or none> "component" <or operator> "labels" <or none> "annotations" <or none>).
*/}}
{{- define "sorcha-operator.metadata" -}}
{{- $labels := mergeOverwrite (dict) (default dict .labels) (include "sorcha-operator.labels" (list .root (default "operator" .component)) | fromYaml) -}}
{{- $metadata := dict "name" .name "labels" $labels -}}
{{- with .namespace }}{{ $_ := set $metadata "namespace" . }}{{ end -}}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (default dict .annotations) }}{{ $_ := set $metadata "annotations" . }}{{ end -}}
{{- toYaml $metadata -}}
{{- end -}}

{{- define "sorcha-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sorcha-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image. Called with (list <root> <values of the image>). */}}
{{- define "sorcha-operator.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $root.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where `helm test` makes its network. */}}
{{- define "sorcha-operator.smokeNamespace" -}}
{{- if .Values.watchNamespaces -}}
{{- first .Values.watchNamespaces -}}
{{- else -}}
{{- .Release.Namespace -}}
{{- end -}}
{{- end -}}
