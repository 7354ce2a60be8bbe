{{- /*
Names and labels. A StatefulSet's pods carry its name with a hash of eleven characters in a label,
so 52 is the most; what is longer is cut and ends in a hash of the whole.
*/ -}}
{{- define "model.name" -}}
{{- $whole := default .Release.Name .Values.fullnameOverride -}}
{{- if gt (len $whole) 52 -}}
{{- printf "%s-%s" (trunc 43 $whole | trimSuffix "-") (sha256sum $whole | trunc 8) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end }}

{{- define "model.headless" -}}
{{ include "model.name" . }}-headless
{{- end }}

{{- define "model.checkName" -}}
{{ include "model.name" . }}-check
{{- end }}

{{- /* A ClusterRole has no namespace, so its name carries it; at most 63 characters. */ -}}
{{- define "model.checkClusterName" -}}
{{- $whole := printf "%s-%s-check" .Release.Namespace (include "model.name" .) -}}
{{- if gt (len $whole) 63 -}}
{{- printf "%s-%s" (trunc 54 $whole | trimSuffix "-") (sha256sum $whole | trunc 8) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end }}

{{- define "model.dashboard" -}}
{{ include "model.name" . }}-dashboard
{{- end }}

{{- define "model.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "model.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "model.selector" -}}
app.kubernetes.io/name: model
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "model.labels" -}}
{{ include "model.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: berth
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* repository:tag, or repository@digest. */ -}}
{{- define "model.image" -}}
{{- $of := .Values.image -}}
{{- if $of.digest -}}
{{- printf "%s@%s" $of.repository $of.digest -}}
{{- else -}}
{{- $built := printf "%s%s" .Chart.AppVersion (gt (int .Values.gpus) 0 | ternary "-cuda" "") -}}
{{- printf "%s:%s" $of.repository (default $built $of.tag) -}}
{{- end -}}
{{- end }}

{{- define "model.keysSecret" -}}
{{- default (printf "%s-keys" (include "model.name" .)) .Values.keys.existingSecret -}}
{{- end }}

{{- /* Where one API key stands alone, for Prometheus. */ -}}
{{- define "model.metricsKey" -}}
{{- if .Values.keys.existingSecret -}}
{{ .Values.serviceMonitor.secretKey }}
{{- else -}}
METRICS_KEY
{{- end -}}
{{- end }}
