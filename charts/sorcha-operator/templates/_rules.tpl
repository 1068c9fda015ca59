{{/*
What the operator may do, all of it: exactly the calls that its code makes. The same rules stand in the ClusterRole of
an installation for all namespaces and in the Role of each watched one.

Kubernetes cannot restrict `list` and `watch` to an object's metadata, nor to objects with a label: the operator watches
Secrets by metadata and label alone, and reads (`get`) only those of its own networks; the rules have to allow more.
*/}}
{{- define "sorcha-operator.rules" -}}
# The networks. Status alone is written.
- apiGroups: [sorcha.org]
  resources: [sorchapeernetworks]
  verbs: [list, watch]
- apiGroups: [sorcha.org]
  resources: [sorchapeernetworks/status]
  verbs: [patch]
# Not a call: API servers with OwnerReferencesPermissionEnforcement ask for it where an object is made that holds up
# the deletion of the network which owns it.
- apiGroups: [sorcha.org]
  resources: [sorchapeernetworks/finalizers]
  verbs: [update]
# What a network is made of.
- apiGroups: [""]
  resources: [configmaps, secrets, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
# Pods are replaced by deleting them; their StatefulSet makes them again.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# Volumes grow. Whether one goes with its peer is the StatefulSet's own matter.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
# Why a StatefulSet makes no pods, a pod does not start or a volume does not bind stands in Events.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The Lease of the election, in the operator's own namespace. */}}
{{- define "sorcha-operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end -}}

{{/* StorageClasses belong to no namespace. */}}
{{- define "sorcha-operator.storageClassRules" -}}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
{{- end -}}
