{{- /* What values.schema.json cannot say: values that need each other. */ -}}
{{- define "berth.refusals" -}}
{{- range $key := list "group" "kind" "name" -}}
{{- if and $.Values.provisioning.enabled (not (get $.Values.provisioning.nodeClass $key)) -}}
{{- fail (printf "provisioning.nodeClass.%s is empty: provisioning.enabled needs the node class that Karpenter's NodeClaims refer to" $key) -}}
{{- end -}}
{{- end -}}
{{- end }}
