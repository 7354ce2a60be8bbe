{{- /* What values.schema.json cannot say: values that need each other. */ -}}
{{- define "berth.refusals" -}}
{{- range $key := list "group" "kind" "name" -}}
{{- if and $.Values.provisioning.enabled (not (get $.Values.provisioning.nodeClass $key)) -}}
{{- fail (printf "provisioning.nodeClass.%s is empty: provisioning.enabled needs the node class that Karpenter's NodeClaims refer to" $key) -}}
{{- end -}}
{{- end -}}
{{- include "berth.missingKeys" . -}}
{{- end }}

{{- /*
The keys' Secret is part of every model's pod: without it in a Workspace's namespace, the pod that
answers there would be ended for one that cannot start. `lookup` finds nothing if no cluster is
asked (helm template), and nothing is refused then.
*/ -}}
{{- define "berth.missingKeys" -}}
{{- $v := .Values.models -}}
{{- $api := "kaito.sh/v1beta1" -}}
{{- if and $v.apiKeySecret $v.apiKeySecretCheck (.Capabilities.APIVersions.Has (printf "%s/Workspace" $api)) -}}
{{- $without := dict -}}
{{- range $namespace := default (list "") .Values.watchNamespaces -}}
{{- range (lookup $api "Workspace" $namespace "").items -}}
{{- $where := .metadata.namespace -}}
{{- $data := (lookup "v1" "Secret" $where $v.apiKeySecret).data -}}
{{- if not (hasKey (default dict $data) "BERTH_API_KEY") -}}
{{- $_ := set $without $where (append (default list (get $without $where)) .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $where, $names := $without -}}
{{- fail (printf "models.apiKeySecret is %s, and namespace %s has no Secret %s with the key BERTH_API_KEY: the pods of %s would end there, and could not start again. Nothing was changed. Make it first: kubectl create secret generic %s --namespace %s --from-literal BERTH_API_KEY=CHOOSE-A-LONG-ONE" $v.apiKeySecret $where $v.apiKeySecret (join ", " $names) $v.apiKeySecret $where) -}}
{{- end -}}
{{- end -}}
{{- end }}
