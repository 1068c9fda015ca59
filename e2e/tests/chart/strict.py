"""Holds objects against the strict schemas of Kubernetes, and our own kind against its definition.

Reads a JSON object from standard input: {"definition": <the definition>, "versions": ["1.33", ...],
"objects": [[<where it is from>, <object>], ...]}. Writes a line for each thing that is wrong, and at the end how many
checks were made. Kinds that no schema knows are wrong too, unless they are in "unknown".
"""

import functools
import json
import sys

import jsonschema
from kubernetes_validate import utils

# The schemas of a version are some megabytes: read once, not for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def strict(schema):
    """The definition's schema, in which what it does not name is wrong."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    kept = made.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made and not kept:
        made["additionalProperties"] = False
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    return made


def main():
    asked = json.load(sys.stdin)
    own = {}
    for version in asked["definition"]["spec"]["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"].update({"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}})
        group = asked["definition"]["spec"]["group"]
        own[f"{group}/{version['name']}"] = jsonschema.Draft202012Validator(schema)
    checks = 0
    for origin, item in asked["objects"]:
        where = f"{origin}: {item.get('kind')} {item.get('metadata', {}).get('name')}"
        validator = own.get(item.get("apiVersion"))
        if validator:
            checks += 1
            for error in validator.iter_errors(item):
                print(f"{where}: {error.json_path}: {error.message}")
            continue
        if item.get("apiVersion") in asked["unknown"]:
            continue
        for version in asked["versions"]:
            checks += 1
            try:
                utils.validate(item, version, strict=True)
            except jsonschema.ValidationError as error:
                path = "".join(f"[{part!r}]" for part in error.absolute_path)
                print(f"{where}: Kubernetes {version}: {path}: {error.message}")
            except utils.SchemaNotFoundError as error:
                print(f"{where}: {error.message}")
    print(f"{checks} checks")


main()
