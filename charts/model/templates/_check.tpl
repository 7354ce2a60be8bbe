{{- /* No copy needs no place. */ -}}
{{- define "model.checked" -}}
{{- $v := .Values -}}
{{- if and $v.check.enabled (gt (int $v.replicas) 0) -}}
yes
{{- end -}}
{{- end }}

{{- /* weight: order of the hook's objects; keep: what to leave for a look after a failure. */ -}}
{{- define "model.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: {{ .delete }}
{{- end }}

{{- define "model.checkLabels" -}}
app.kubernetes.io/name: model-check
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: berth
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "model.checkArguments" -}}
{{- $v := .Values -}}
- check
- {{ $v.model | quote }}
- --served
{{- with (include "model.resources" . | fromYaml).requests }}
{{- with .cpu }}
- {{ printf "--cpus=%v" . | quote }}
{{- end }}
{{- end }}
{{- if gt (int $v.gpus) 0 }}
- --gpus={{ int $v.gpus }}
{{- else }}
- --cpu
{{- with (include "model.resources" . | fromYaml).limits }}
{{- with .memory }}
- --memory={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- $degree := include "model.degree" . }}
{{- if and (ne $degree "auto") (ne $v.engine.kind "transformers") }}
- --tensor={{ $degree }}
{{- end }}
{{- if gt (int $v.nodes) 1 }}
- --nodes={{ int $v.nodes }}
- --together
{{- end }}
{{- /* An upgrade puts new pods in the place of the old ones. */}}
- {{ printf "--replacing=%s:app.kubernetes.io/name=model,app.kubernetes.io/instance=%s" .Release.Namespace .Release.Name | quote }}
{{- range $key, $value := $v.nodeSelector }}
- {{ printf "--selector=%s=%s" $key $value | quote }}
{{- end }}
{{- range $v.tolerations }}
{{- $value := eq (default "Equal" .operator) "Exists" | ternary "" (printf "=%s" (default "" .value)) }}
{{- $effect := empty .effect | ternary "" (printf ":%s" (default "" .effect)) }}
- {{ printf "--toleration=%s%s%s" (default "" .key) $value $effect | quote }}
{{- end }}
{{- if ne $v.engine.kind "auto" }}
- --engine={{ $v.engine.kind }}
{{- end }}
{{- if ne $v.engine.dtype "auto" }}
- --dtype={{ $v.engine.dtype }}
{{- end }}
{{- $context := int (default $v.engine.maxModelLen $v.check.context) }}
{{- if $context }}
- --context={{ $context }}
{{- end }}
{{- if $v.check.concurrency }}
- --concurrency={{ int $v.check.concurrency }}
{{- end }}
{{- end }}
