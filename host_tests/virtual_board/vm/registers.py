"""Addresses of the board's state, shared by the VM (fakes) and the host process that owns the board.

One file, `board.bin`, is mapped into both: 32-bit words that the fakes read at no heap cost, known by their
index, and a few byte regions known by address. Owns the map only; what a word means is in the fake that uses it.
Addresses stay below 2**30 so that a VM with 31-bit small integers never allocates to form one.
"""

BASE = 0x10000000
FLASH = 0x11000000
WORDS = 512
SIZE_BYTES = 8192
FLASH_SIZE_BYTES = 4 * 1024 * 1024

# Clock. Ticks = host monotonic ms + TICKS_OFFSET (mod 2**30). The two wall clocks are a second count, a
# millisecond remainder and the monotonic ms at which both were true: RTC is the board's, NTP is the truth.
TICKS_OFFSET = 0
SKIP_ON = 2
SKIP_UNTIL = 3
SKIP_SOCKETS = 4
TICK_MS = 5
RTC = 6
NTP = 9
SKIPPED_MS = 12
INTERRUPT = 14  # Ctrl-C waits for a moment at which it can be raised
RUN_MAIN = 13  # 0: a soft reset from the raw REPL, which leaves main.py out

# Life of the chip.
STATE = 16
RESET_CAUSE = 17
SLEEP_MS = 18
WDT_TIMEOUT_MS = 19
WDT_FED_TICKS = 20
FAKES_BYTES = 21
HEAP_BYTES = 22
FLASH_OPS = 23
CUT_AT_FLASH_OP = 24
FLASH_FAIL = 25
POLL_WAITS = 26
HEAP_HAVE_BYTES = 27

STATE_OFF = 0
STATE_RUNNING = 1
STATE_REPL = 2
STATE_RESET = 3
STATE_SLEEP = 4
STATE_CALIBRATE = 5
STATE_POWER_CUT = 6

# Radio and network: what the world around the board is like, set by the host.
AP_PRESENT = 32
DHCP_OK = 33
RSSI = 34
NTP_OK = 35
DNS_DEAD = 36
LINK = 37
TXPOWER_MAX = 38
SOCKETS_OPEN = 40
SOCKETS_TAKEN = 41
WRITE_MAX = 42
IDF_WLAN = 43
IDF_TAKEN = 44
IDF_LARGEST_CAP = 45
PORT_MAP = 48
PORT_MAP_PAIRS = 4

# Sensors.
TEMPERATURE_C = 60
SENSOR_FAIL = 61

# What is wired to the pins. sensor_world.py sets these; all 0 is a board with nothing on it. A pin is told as its
# number + 1; the faults are those of one sensor, but I2C_HELD, which is its bus's.
PINS_LOW = 208  # bit n: something holds GPIO n low
PULSES = 209  # that came so far at PULSES_PIN; what the fakes have delivered of them
PULSES_SEEN = 210
PULSES_PIN = 211
ADC_UV = 212  # to 216: microvolts at GPIO 0 to 4
ONEWIRE_PIN = 217
ONEWIRE_PRESENT = 218  # bit n: the n-th sensor is plugged in
ONEWIRE_FAULT = 219
ONEWIRE_STARTED = 220  # ticks of the last conversion's start, and which sensors are at it
ONEWIRE_CONVERTING = 221
DHT_PIN = 222
DHT_NOW = 223  # the four bytes that it would measure now, and those it measured when it was last asked
DHT_MEASURED = 224
DHT_FAULT = 225
DHT_ASKED = 226  # ticks; 0: never
DHT_LOW_MS = 227  # as long must the line be held low to ask it
DHT_INTERVAL_MS = 228
I2C_SDA = 229
I2C_SCL = 230
I2C_HELD = 231
BME_ADDRESS = 232
BME_FAULT = 233
BME_STARTED = 234
BME_STATE = 235
BME_POINTER = 236
SHT_ADDRESS = 237
SHT_FAULT = 238
SHT_STARTED = 239
SHT_STATE = 240
SHT_RAW = 241  # temperature and, in the next word, humidity, 16 bits each
SHT_HEATER = 243

FAULT_ABSENT = 1
FAULT_STUCK = 2  # the line is held low
FAULT_CRC = 3
FAULT_LATE = 4
FAULT_RESTARTED = 5  # it lost its power after the start of a measurement
HELD_SCL = 1
HELD_SDA = 2

BME_REGISTERS = BASE + 0x1000  # all 256 of them
BME_NOW = BASE + 0x1100  # the 8 bytes 0xF7 to 0xFE of the next measurement
ONEWIRE_SENSORS = BASE + 0x1200  # ROM 8 bytes, scratchpad 8, temperature now 2, of each
ONEWIRE_SENSOR_BYTES = 32
ONEWIRE_SENSORS_MOST = 8

# Servers for datagrams, three words each: port on the host (0: nobody there), datagrams sent to it, datagrams dealt with.
NAME_SERVER = 190
TIME_SERVER = 193

# A server for streams that keeps in step with the board: its port on the host (0: there is none), how often the board
# connected or sent to it, up to where it has dealt with that, and the tick at which it does its next thing (0: none).
PEER_PORT = 196
PEER_SENT = 197
PEER_READ = 198
PEER_DUE = 199

# TLS: sessions in memory, those of them in their handshake, whether there ever was one since power-on; and, set by tests,
# for how many ms a step of a handshake blocks (0: for 5).
TLS_OPEN = 200
TLS_HANDSHAKES = 201
TLS_EVER = 202
TLS_STEP_MS = 203

SSID_TEXT = BASE + 0x100
PASSWORD_TEXT = BASE + 0x140
TEXT_SIZE_BYTES = 64
UNIQUE_ID = BASE + 0x180
FIRMWARE_TEXT = BASE + 0x1C0  # release;version;chip of the firmware in flash

RTC_MEMORY = BASE + 0x800
RTC_MEMORY_LEN = 511
RTC_MEMORY_SIZE_BYTES = 2048

# Marks in what the VM prints, taken out again by the host.
REPL_IDLE = "\0idle\0"
REPL_DONE = "\0done\0"
REPL_END = "\0end\0"
