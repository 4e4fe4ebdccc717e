"""What all three apps of the bench serve: bytes, which none of the servers has to convert. INDEX is 1050 long."""

INDEX = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Logger</title><link rel="stylesheet" href="/style.css"></head>
<body><h1>Logger</h1><p>Up 3 d 04:12, 21.4 C, 47 %, heap 41 KB free.</p>
<table><tr><th>Taken</th><th>Stored</th><th>Sent</th><th>Pending</th></tr>
<tr><td>12960</td><td>12958</td><td>12931</td><td>27</td></tr></table>
<form method="post" action="/form">
<p><label>Name <input name="name" maxlength="32" required></label></p>
<p><label>Network <input name="ssid" maxlength="32" required></label></p>
<p><label>Password <input name="password" type="password" maxlength="63"></label></p>
<p><label>Seconds from one sample to the next <input name="interval" type="number" min="5"></label></p>
<p><button>Save</button></p></form>
<p><a href="/tips">Tips</a> for where to put the sensor: not beside the chip, not above a radiator and not in the sun.
</p><footer>Served from one kilobyte of buffer. The logger's samples and these pages share one core</footer></body></html>
"""

TIPS = b"<!DOCTYPE html><title>Tips</title><p>Not in the sun.</p>\n"
