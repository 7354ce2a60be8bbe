{{- /*
Rules of the scopes in .scopes. files/rules.yaml is written by `make docs` from the table that the
controller's own client asks before each request: src/berth/controller/rbac.py.
*/ -}}
{{- define "berth.rules" -}}
{{- $all := .root.Files.Get "files/rules.yaml" | fromYaml -}}
{{- range $scope := .scopes }}
{{ get $all $scope | toYaml }}
{{- end }}
{{- end }}
