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

# Where readings are sent, http only so far. Empty: they are kept in memory, the oldest given up when it is full.
TELEMETRY_URL = ""
TELEMETRY_PERIOD_S = 30

# A reading is taken at every multiple of this many seconds of the clock.
SAMPLE_PERIOD_S = 10
