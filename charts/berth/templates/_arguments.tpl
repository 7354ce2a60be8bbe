{{- /* Arguments of the image's `berth controller`. */ -}}
{{- define "berth.controllerArguments" -}}
{{- $v := .Values -}}
{{- range $v.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
- --lease-namespace={{ .Release.Namespace }}
- --lease-name={{ include "berth.name" . }}
- --host=0.0.0.0
- --port=8080
- --log-format={{ $v.log.format }}
- --log-level={{ $v.log.level }}
- {{ printf "--runtime-image=%s" (default (printf "berth:%s" .Chart.AppVersion) $v.models.images.cpu) | quote }}
- {{ printf "--runtime-image-gpu=%s" (default (printf "berth:%s-cuda" .Chart.AppVersion) $v.models.images.cuda) | quote }}
{{- with $v.models.images.registry }}
- {{ printf "--model-registry=%s" . | quote }}
{{- with $v.models.images.tag }}
- {{ printf "--model-tag=%s" . | quote }}
{{- end }}
{{- end }}
- --image-pull-policy={{ $v.models.images.pullPolicy }}
{{- if $v.models.lookForSecrets }}
- --look-for-secrets
{{- end }}
- --max-restarts={{ int $v.models.maxRestarts }}
- --grace-seconds={{ int $v.models.graceSeconds }}
{{- with $v.models.storageClass }}
- {{ printf "--storage-class=%s" . | quote }}
{{- end }}
{{- with $v.models.apiKeySecret }}
- {{ printf "--api-key-secret=%s" . | quote }}
{{- end }}
{{- if not $v.models.networkPolicy }}
- --no-network-policy
{{- end }}
{{- with $v.provisioning }}
{{- if .enabled }}
- --provisioning
- {{ printf "--node-class=%s/%s/%s" .nodeClass.group .nodeClass.kind .nodeClass.name | quote }}
{{- end }}
{{- end }}
{{- end }}
