"""Factory defaults: the one file a person edits before `make deploy`.

Owns values only. What is changed later in the browser is kept in /settings.json on the board and wins over these.
"""

# Shown on the pages; the network name of the board is always tally-XXXXXX.
NAME = "Tally"

# The network to join (2.4 GHz). Empty: the board starts without a network and says so on the serial log.
WIFI_SSID = ""
WIFI_PASSWORD = ""

# Where the admin pages listen: every address of the board, the usual port.
WEB_HOST = "0.0.0.0"
WEB_PORT = 80

# Where readings are sent, http or https. Empty: they stay in the log, the oldest given up when it is full.
TELEMETRY_URL = ""

# When: after so many seconds, as soon as so many samples wait, or both; 0 leaves one of them out.
TELEMETRY_PERIOD_S = 30
TELEMETRY_SAMPLES = 0

# How: "json", "ndjson", "line" (InfluxDB, VictoriaMetrics) or "form", and at most so many samples at once, up to 120.
TELEMETRY_FORMAT = "json"
TELEMETRY_BATCH = 120

# What lets the board in: "bearer X", "token X", "basic user:password" or a header line "Name: value".
TELEMETRY_AUTH = ""

# For https: a file on the board with the certificate to trust (PEM or DER), or "insecure" to trust anybody.
TELEMETRY_CA = ""

# A reading is taken at every multiple of this many seconds of the clock.
SAMPLE_PERIOD_S = 10

# What is measured: kinds with their options, separated by ";". All kinds are in docs/sensors.md; an example:
# "internal; ds18b20 pin=4; bme280 sda=5 scl=6 name=room".
SENSORS = "internal"

# Time servers, names or addresses.
NTP_SERVERS = "0.pool.ntp.org 1.pool.ntp.org 2.pool.ntp.org time.cloudflare.com"

# The zone in which times are shown, a POSIX TZ string (docs/time.md): "CET-1CEST,M3.5.0,M10.5.0/3". Stored is UTC.
TIME_ZONE = "UTC0"
