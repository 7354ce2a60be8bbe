{{- /* Arguments of the image's `berth serve`. Kubernetes puts $(POD_INDEX) in; no shell is needed. */ -}}
{{- define "model.arguments" -}}
{{- $v := .Values -}}
{{- $folder := include "model.folder" . -}}
{{- if or $folder (eq $v.weights.source "hub") }}
- {{ $v.model | quote }}
{{- end }}
{{- with $folder }}
- {{ printf "--weights=%s" . | quote }}
{{- end }}
- --host=0.0.0.0
- --port=5000
- --device={{ gt (int $v.gpus) 0 | ternary "cuda" "cpu" }}
{{- with $v.servedName }}
- {{ printf "--name=%s" . | quote }}
{{- end }}
{{- range $v.aliases }}
- {{ printf "--alias=%s" . | quote }}
{{- end }}
- --grace={{ int $v.graceSeconds }}
- --log-format={{ $v.log.format }}
- --log-level={{ $v.log.level }}
- --engine={{ $v.engine.kind }}
- --dtype={{ $v.engine.dtype }}
- --max-num-seqs={{ int $v.engine.maxNumSeqs }}
{{- if $v.engine.maxModelLen }}
- --max-model-len={{ int $v.engine.maxModelLen }}
{{- end }}
{{- if $v.engine.chatTemplate }}
- {{ printf "--chat-template=%s" $v.engine.chatTemplate | quote }}
{{- end }}
{{- if ne $v.engine.kind "transformers" }}
- --degree={{ include "model.degree" . }}
{{- end }}
{{- if gt (int $v.nodes) 1 }}
- --nnodes={{ int $v.nodes }}
- --node-rank=$(POD_INDEX)
- --rdzv-endpoint={{ include "model.name" . }}-0.{{ include "model.headless" . }}.{{ .Release.Namespace }}.svc:29500
{{- end }}
{{- range $v.engine.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Folder of weights that are there already. Empty: pulled, or where the image says. */ -}}
{{- define "model.folder" -}}
{{- if eq .Values.weights.source "baked" -}}
{{ .Values.weights.path }}
{{- else if ne .Values.weights.source "hub" -}}
{{ printf "/weights/%s" (trimPrefix "/" .Values.weights.path) | trimSuffix "/" }}
{{- end -}}
{{- end }}

{{- /* On one node the server counts its GPUs and what the model can be divided by. */ -}}
{{- define "model.degree" -}}
{{- $v := .Values -}}
{{- if $v.engine.degree -}}
{{ int $v.engine.degree }}
{{- else if eq (int $v.nodes) 1 -}}
auto
{{- else -}}
{{ mul (max 1 (int $v.gpus)) (int $v.nodes) }}
{{- end -}}
{{- end }}

{{- define "model.environment" -}}
{{- $v := .Values -}}
{{- if $v.keys.enabled }}
- name: BERTH_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "model.keysSecret" . | quote }}
      key: BERTH_API_KEY
{{- end }}
{{- /* The root filesystem is read-only: what libraries keep goes to the cache. */}}
- name: HOME
  value: /tmp
- name: HF_HOME
  value: /cache/huggingface
- name: XDG_CACHE_HOME
  value: /cache/xdg
- name: TORCHINDUCTOR_CACHE_DIR
  value: /cache/inductor
- name: TRITON_CACHE_DIR
  value: /cache/triton
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- if eq $v.weights.source "hub" }}
{{- if $v.weights.hub.endpoint }}
- name: HF_ENDPOINT
  value: {{ $v.weights.hub.endpoint | quote }}
{{- end }}
{{- if $v.weights.hub.tokenSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $v.weights.hub.tokenSecret | quote }}
      key: {{ $v.weights.hub.tokenKey | quote }}
{{- end }}
{{- else }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- if gt (int $v.nodes) 1 }}
- name: POD_INDEX
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
{{- end }}
{{- with $v.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "model.resources" -}}
{{- $requests := deepCopy (default dict .Values.resources.requests) -}}
{{- $limits := deepCopy (default dict .Values.resources.limits) -}}
{{- if gt (int .Values.gpus) 0 -}}
{{- $_ := set $requests .Values.gpuResource (toString (int .Values.gpus)) -}}
{{- $_ := set $limits .Values.gpuResource (toString (int .Values.gpus)) -}}
{{- else if and (hasKey $requests "memory") (not (hasKey $limits "memory")) -}}
{{- /* The engine sizes its cache by the limit; without one it would take the whole node. */ -}}
{{- $_ := set $limits "memory" $requests.memory -}}
{{- end -}}
{{- toYaml (merge (dict "requests" $requests "limits" $limits) .Values.resources) -}}
{{- end }}

{{- define "model.volumes" -}}
{{- $v := .Values -}}
- name: tmp
  emptyDir:
    sizeLimit: 2Gi
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ $v.shmSize | quote }}
{{- if not (and (eq $v.weights.source "hub") $v.weights.hub.persistent) }}
- name: cache
  {{- if $v.weights.hub.size }}
  emptyDir:
    sizeLimit: {{ $v.weights.hub.size | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- if eq $v.weights.source "claim" }}
- name: weights
  persistentVolumeClaim:
    claimName: {{ $v.weights.claim.name | quote }}
    readOnly: true
{{- else if eq $v.weights.source "image" }}
- name: weights
  image:
    reference: {{ $v.weights.image.reference | quote }}
    pullPolicy: {{ $v.weights.image.pullPolicy | quote }}
{{- end }}
{{- end }}

{{- define "model.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
- name: cache
  mountPath: /cache
{{- if or (eq .Values.weights.source "claim") (eq .Values.weights.source "image") }}
- name: weights
  mountPath: /weights
  readOnly: true
{{- end }}
{{- end }}

{{- define "model.tolerations" -}}
{{- if gt (int .Values.gpus) 0 }}
- key: nvidia.com/gpu
  operator: Exists
- key: sku
  operator: Equal
  value: gpu
  effect: NoSchedule
{{- end }}
{{- with .Values.tolerations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Pods of one model over several nodes keep off each other's nodes. */ -}}
{{- define "model.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if gt (int .Values.nodes) 1 -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "model.selector" . | fromYaml)) -}}
{{- $anti := default dict $affinity.podAntiAffinity -}}
{{- $terms := append (default list $anti.requiredDuringSchedulingIgnoredDuringExecution) $term -}}
{{- $_ := set $anti "requiredDuringSchedulingIgnoredDuringExecution" $terms -}}
{{- $_ := set $affinity "podAntiAffinity" $anti -}}
{{- end -}}
{{- with $affinity -}}
{{ toYaml . }}
{{- end -}}
{{- end }}

{{- define "model.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int .Values.securityContext.runAsUser }}
runAsGroup: {{ int .Values.securityContext.runAsUser }}
fsGroup: {{ int .Values.securityContext.runAsUser }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "model.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .Values.securityContext.readOnlyRootFilesystem }}
capabilities:
  drop: [ALL]
{{- end }}
