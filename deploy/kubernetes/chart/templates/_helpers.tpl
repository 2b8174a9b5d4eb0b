{{- define "spanctl.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "spanctl.secret" -}}
{{ .Values.cluster.existingSecret | default "spanctl-cluster" }}
{{- end }}

{{- define "spanctl.labels" -}}
app.kubernetes.io/name: spanctl
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
