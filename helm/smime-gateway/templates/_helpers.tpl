{{- define "smime-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "smime-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "smime-gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "smime-gateway.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "smime-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "smime-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "smime-gateway.labels" -}}
{{ include "smime-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "smime-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "smime-gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "smime-gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The settings, with the defaults that this chart relies on. */ -}}
{{- define "smime-gateway.settings" -}}
{{- $given := .Values.settings -}}
{{- if not $given -}}
{{- $given = .Files.Get "files/gateway.yaml" | fromYaml -}}
{{- end -}}
{{- $relied := dict "policies" "/etc/smime-gateway/policies" "state" "/var/lib/smime-gateway" "drain" "30s" -}}
{{- $_ := set $relied "metrics" (dict "listen" "0.0.0.0:9090") -}}
{{- mergeOverwrite $relied (deepCopy $given) | toYaml -}}
{{- end -}}

{{- /* The port of a host:port, as a number. */ -}}
{{- define "smime-gateway.port" -}}
{{- regexFind "[0-9]+$" . | int -}}
{{- end -}}

{{- /* Seconds of a duration such as 500ms, 30s, 2m, 1h; rounded up. */ -}}
{{- define "smime-gateway.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}{{ add 1 (div $number 1000) }}
{{- else if eq $unit "s" -}}{{ $number }}
{{- else if eq $unit "m" -}}{{ mul $number 60 }}
{{- else if eq $unit "h" -}}{{ mul $number 3600 }}
{{- else -}}{{ fail (printf "settings.drain: expected a duration like 30s or 2m, not %q" .) }}
{{- end -}}
{{- end -}}

{{- /* What can be told only from several values together. */ -}}
{{- define "smime-gateway.check" -}}
{{- $settings := include "smime-gateway.settings" . | fromYaml -}}
{{- range $name, $listener := $settings.listeners -}}
{{- if lt (include "smime-gateway.port" $listener.listen | int) 1024 -}}
{{- fail (printf "settings.listeners.%s.listen: the pod has no capabilities, so listen above port 1023; service.ports.%s gives the well-known number" $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $port := .Values.service.ports -}}
{{- if not (hasKey $settings.listeners $name) -}}
{{- fail (printf "service.ports.%s: there is no such listener in settings.listeners" $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $settings.listeners "metrics" -}}
{{- fail "settings.listeners.metrics: the name is taken by the page of metrics and health" -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $settings.metrics.listen -}}
{{- fail "settings.metrics.listen: the kubelet asks from outside the pod, so listen on all addresses" -}}
{{- end -}}
{{- if ne $settings.policies "/etc/smime-gateway/policies" -}}
{{- fail "settings.policies: this chart mounts the policies at /etc/smime-gateway/policies" -}}
{{- end -}}
{{- if not (hasPrefix "/" $settings.state) -}}
{{- fail "settings.state: this chart mounts the state folder, so it needs an absolute path" -}}
{{- end -}}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) -}}
{{- fail "persistence.existingClaim: has no use where persistence is not enabled" -}}
{{- end -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (include "smime-gateway.gracePeriod" . | int) -}}
{{- fail (printf "terminationGracePeriodSeconds: at least settings.drain and 15 seconds: %s" (include "smime-gateway.gracePeriod" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "smime-gateway.gracePeriod" -}}
{{- $settings := include "smime-gateway.settings" . | fromYaml -}}
{{- add 15 (include "smime-gateway.seconds" $settings.drain | int) -}}
{{- end -}}

{{- /* Policy documents, as a map from file name to text. */ -}}
{{- define "smime-gateway.policies" -}}
{{- $texts := dict -}}
{{- range $name, $document := .Values.policies -}}
{{- $_ := set $texts $name (kindIs "string" $document | ternary $document (toYaml $document)) -}}
{{- end -}}
{{- if not $texts -}}
{{- $_ := set $texts "10-main.yaml" (.Files.Get "files/10-main.yaml") -}}
{{- end -}}
{{- toYaml $texts -}}
{{- end -}}
