{{- /* What values.schema.json cannot say: values that exclude or need each other. */ -}}
{{- define "model.refusals" -}}
{{- $v := .Values -}}
{{- $several := gt (int $v.nodes) 1 -}}
{{- if and $several (gt (int $v.replicas) 1) -}}
{{- fail (printf "nodes is %d and replicas is %d: a model over several nodes runs once; install the chart again for a second copy" (int $v.nodes) (int $v.replicas)) -}}
{{- end -}}
{{- if and $several (ne $v.autoscaling.type "none") -}}
{{- fail (printf "autoscaling.type is %s and nodes is %d: a model over several nodes runs once; set autoscaling.type to none" $v.autoscaling.type (int $v.nodes)) -}}
{{- end -}}
{{- if and $several (eq $v.engine.kind "transformers") -}}
{{- fail (printf "engine.kind is transformers and nodes is %d: that engine is one process on one node; set nodes to 1 or engine.kind to native" (int $v.nodes)) -}}
{{- end -}}
{{- if and (ne $v.autoscaling.type "none") (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d, above autoscaling.maxReplicas, which is %d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $v.autoscaling.type "keda") (not $v.autoscaling.keda.serverAddress) -}}
{{- fail "autoscaling.keda.serverAddress is empty: KEDA needs the URL of Prometheus" -}}
{{- end -}}
{{- if and (eq $v.weights.source "claim") (not $v.weights.claim.name) -}}
{{- fail "weights.claim.name is empty: weights.source claim needs the name of a PersistentVolumeClaim" -}}
{{- end -}}
{{- if and (eq $v.weights.source "image") (not $v.weights.image.reference) -}}
{{- fail "weights.image.reference is empty: weights.source image needs the name of an image or artifact" -}}
{{- end -}}
{{- if and (eq $v.weights.source "image") (semverCompare "<1.35.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "weights.source is image: image volumes need Kubernetes 1.35 or newer, and this is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $v.weights.hub.persistent (eq $v.weights.source "hub") (not $v.weights.hub.size) -}}
{{- fail "weights.hub.size is empty: weights.hub.persistent needs the size of the volume" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "ingress.host is empty: ingress.enabled needs a host name" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: httpRoute.enabled needs at least one Gateway" -}}
{{- end -}}
{{- include "model.missingSecrets" . -}}
{{- end }}

{{- /*
Of an upgrade: a pod that answers would be ended for one that cannot start. If no StatefulSet is
found, none runs, or no cluster is asked (helm template).
*/ -}}
{{- define "model.missingSecrets" -}}
{{- $v := .Values -}}
{{- $needed := list -}}
{{- if and $v.keys.enabled $v.keys.existingSecret -}}
{{- $needed = append $needed (list "keys.existingSecret" $v.keys.existingSecret "BERTH_API_KEY") -}}
{{- end -}}
{{- if and (eq $v.weights.source "hub") $v.weights.hub.tokenSecret -}}
{{- $needed = append $needed (list "weights.hub.tokenSecret" $v.weights.hub.tokenSecret $v.weights.hub.tokenKey) -}}
{{- end -}}
{{- if lookup "apps/v1" "StatefulSet" .Release.Namespace (include "model.name" .) -}}
{{- range $needed -}}
{{- $value := index . 0 -}}
{{- $secret := index . 1 -}}
{{- $key := index . 2 -}}
{{- $data := (lookup "v1" "Secret" $.Release.Namespace $secret).data -}}
{{- if not (hasKey (default dict $data) $key) -}}
{{- fail (printf "%s is %s, and namespace %s has no Secret of that name with the key %s: the pods that answer now would end, and could not start again. Nothing was changed. Make it first: kubectl create secret generic %s --namespace %s --from-literal %s=…" $value $secret $.Release.Namespace $key $secret $.Release.Namespace $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
