{{- define "penstock.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "penstock.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The contents of the Secret. An empty URL would mean an embedded engine. */ -}}
{{- define "penstock.urls" -}}
PENSTOCK_LOG: {{ required "urls.log is needed, or existingSecret" .Values.urls.log | quote }}
PENSTOCK_WAREHOUSE: {{ required "urls.warehouse is needed, or existingSecret" .Values.urls.warehouse | quote }}
PENSTOCK_STATE: {{ required "urls.state is needed, or existingSecret" .Values.urls.state | quote }}
PENSTOCK_DATABASE: {{ .Values.urls.database | quote }}
PENSTOCK_OBJECTS: {{ .Values.urls.objects | quote }}
{{- end }}

{{- /*
What the pods of all roles and of the migration have in common.

Without `enableServiceLinks: false` Kubernetes describes every Service in variables that begin with
its name, and one that begins with PENSTOCK_ and is no setting stops the start.
*/ -}}
{{- define "penstock.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Of: root, args, urls (variables it gets of the Secret), secret (its name). */ -}}
{{- define "penstock.container" -}}
{{- $root := .root -}}
image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ toJson .args }}
env:
{{- range $variable := .urls }}
  - name: {{ $variable }}
    valueFrom: {secretKeyRef: {name: {{ $.secret }}, key: {{ $variable }}, optional: {{ has $variable (list "PENSTOCK_DATABASE" "PENSTOCK_OBJECTS") }}}}
{{- end }}
{{- range $variable, $value := $root.Values.settings }}
  - {name: {{ $variable }}, value: {{ $value | quote }}}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /var/lib/penstock}
  - {name: tmp, mountPath: /tmp}
{{- end }}
