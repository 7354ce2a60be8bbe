{{- /* Names and labels. What would be longer than 63 characters ends in a hash of the whole. */ -}}
{{- define "berth.cut" -}}
{{- if gt (len .) 63 -}}
{{- printf "%s-%s" (trunc 54 . | trimSuffix "-") (sha256sum . | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end }}

{{- define "berth.name" -}}
{{- $release := ternary .Release.Name (printf "%s-berth" .Release.Name) (contains "berth" .Release.Name) -}}
{{- include "berth.cut" (default $release .Values.fullnameOverride) -}}
{{- end }}

{{- /* A ClusterRole has no namespace, so its name carries it. */ -}}
{{- define "berth.clusterName" -}}
{{- include "berth.cut" (printf "%s-%s" .Release.Namespace (include "berth.name" .)) -}}
{{- end }}

{{- define "berth.dashboard" -}}
{{- include "berth.cut" (printf "%s-dashboard" (include "berth.name" .)) -}}
{{- end }}

{{- define "berth.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "berth.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "berth.labels" -}}
{{ include "berth.selector" . }}
app.kubernetes.io/component: controller
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: berth
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Name, namespace and labels of an object in the release's namespace. */ -}}
{{- define "berth.metadata" -}}
name: {{ include "berth.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "berth.labels" . | nindent 2 }}
{{- end }}

{{- define "berth.clusterMetadata" -}}
name: {{ include "berth.clusterName" . | quote }}
labels:
  {{- include "berth.labels" . | nindent 2 }}
{{- end }}

{{- define "berth.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- define "berth.subject" -}}
- kind: ServiceAccount
  name: {{ include "berth.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}
