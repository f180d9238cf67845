{{- define "zisk.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}{{- else if contains "zisk" .Release.Name }}{{ .Release.Name }}{{- else }}{{ .Release.Name }}-zisk{{- end }}
{{- end }}

{{- define "zisk.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "zisk.name" .) }}
{{- end }}

{{- /* By which pods are found; never changes. Takes (list . COMPONENT). */}}
{{- define "zisk.selector" -}}
app.kubernetes.io/name: zisk
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "zisk.labels" -}}
{{ include "zisk.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}
