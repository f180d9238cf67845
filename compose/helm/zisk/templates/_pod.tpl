{{- /* What a pod of either component has. Takes a dictionary: root, component, settings (its values), and of its Secrets: nats, tls. */}}
{{- define "zisk.pod" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $s3 := hasPrefix "s3://" $values.objects.url -}}
metadata:
  labels:
    {{- include "zisk.labels" (list $root .component) | nindent 4 }}
  annotations:
    # A changed configuration is a new pod.
    checksum/config: {{ .settings.config | sha256sum }}
    {{- with .settings.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "zisk.serviceAccount" $root }}
  automountServiceAccountToken: false
  # Kubernetes would set variables for the Services that begin as the settings' do.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .settings.terminationGracePeriodSeconds }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    # So that mounted Secrets can be read by that user and nobody else.
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  {{- with .settings.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "zisk.selector" (list $root .component) | nindent 10 }}
  {{- with .settings.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: "{{ with $values.image.registry }}{{ . }}/{{ end }}zisk-{{ .component }}:{{ $values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: ["--config", "/etc/zisk/{{ .component }}.toml"]
      env:
        - name: ZISK_NATS_URL
          value: {{ $values.nats.url | quote }}
        - name: ZISK_REPLICAS
          value: {{ $values.nats.replicas | quote }}
        - name: ZISK_PREFIX
          value: {{ $values.nats.prefix | quote }}
        {{- if eq $values.nats.auth "credentials" }}
        - name: ZISK_NATS_CREDS
          value: /etc/zisk/nats/nats.creds
        {{- else if eq $values.nats.auth "password" }}
        - name: ZISK_NATS_USER
          valueFrom: { secretKeyRef: { name: {{ .nats | quote }}, key: user } }
        - name: ZISK_NATS_PASSWORD
          valueFrom: { secretKeyRef: { name: {{ .nats | quote }}, key: password } }
        {{- end }}
        {{- if .tls }}
        - name: ZISK_NATS_CA
          value: /etc/zisk/tls/ca.crt
        - name: ZISK_NATS_CERT
          value: /etc/zisk/tls/tls.crt
        - name: ZISK_NATS_KEY
          value: /etc/zisk/tls/tls.key
        {{- end }}
        - name: ZISK_OBJECT_STORE
          value: {{ $values.objects.url | quote }}
        {{- if $s3 }}
        - name: AWS_REGION
          value: {{ $values.objects.s3.region | quote }}
        {{- with $values.objects.s3.endpoint }}
        - name: AWS_ENDPOINT_URL
          value: {{ . | quote }}
        {{- end }}
        - name: AWS_ALLOW_HTTP
          value: {{ $values.objects.s3.allowHttp | quote }}
        {{- if $values.objects.s3.existingSecret }}
        - name: AWS_SHARED_CREDENTIALS_FILE
          value: /etc/zisk/s3/credentials
        {{- end }}
        {{- if $values.objects.s3.caSecret }}
        - name: SSL_CERT_FILE
          value: /etc/zisk/s3-ca/ca.crt
        {{- end }}
        {{- end }}
        - name: ZISK_LOG_LEVEL
          value: {{ $values.log.level | quote }}
        - name: ZISK_LOG_FORMAT
          value: {{ $values.log.format | quote }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: metrics
          containerPort: {{ .port }}
      startupProbe:
        httpGet: { path: /health, port: metrics }
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /health, port: metrics }
        periodSeconds: 10
        failureThreshold: 3
      readinessProbe:
        httpGet: { path: /ready, port: metrics }
        periodSeconds: 5
        failureThreshold: 2
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- with .settings.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/zisk/{{ .component }}.toml
          subPath: {{ .component }}.toml
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if eq $values.nats.auth "credentials" }}
        - name: nats
          mountPath: /etc/zisk/nats
          readOnly: true
        {{- end }}
        {{- if .tls }}
        - name: tls
          mountPath: /etc/zisk/tls
          readOnly: true
        {{- end }}
        {{- if and $s3 $values.objects.s3.existingSecret }}
        - name: s3
          mountPath: /etc/zisk/s3
          readOnly: true
        {{- end }}
        {{- if and $s3 $values.objects.s3.caSecret }}
        - name: s3-ca
          mountPath: /etc/zisk/s3-ca
          readOnly: true
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "zisk.name" $root }}
    - name: tmp
      emptyDir: { medium: Memory, sizeLimit: 64Mi }
    {{- if eq $values.nats.auth "credentials" }}
    - name: nats
      secret: { secretName: {{ .nats | quote }}, defaultMode: 288 }
    {{- end }}
    {{- if .tls }}
    - name: tls
      secret: { secretName: {{ .tls | quote }}, defaultMode: 288 }
    {{- end }}
    {{- if and $s3 $values.objects.s3.existingSecret }}
    - name: s3
      secret: { secretName: {{ $values.objects.s3.existingSecret | quote }}, defaultMode: 288 }
    {{- end }}
    {{- if and $s3 $values.objects.s3.caSecret }}
    - name: s3-ca
      secret: { secretName: {{ $values.objects.s3.caSecret | quote }}, defaultMode: 288 }
    {{- end }}
{{- end }}
