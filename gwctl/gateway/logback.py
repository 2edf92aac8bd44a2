"""The gateway's logging: quiet enough to hold no cookie, loud enough to hold the cause of a failed login.

At INFO and below the real gateway writes cookies, session keys and bodies; at WARN and above it writes what went wrong
(``giving up ...``, ``Reauthentication failed 5 times, stopping``). Logback 1.2.11 reads the file again every 10 s.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

_PACKAGE = "ibgroup.web.core.clientportal.gw"
_POLICY = "ch.qos.logback.core.rolling.SizeAndTimeBasedRollingPolicy"
_PATTERN = "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5level %logger{0} : %replace(%message){'[?].*', ''}%n%ex{short}"
_LEVELS = {
    # Says "Client login succeeds" and "authenticated to cp": where one login ends and the next begins.
    f"{_PACKAGE}.http.GatewayHttpProxy": "INFO",
    "HttpMessageLogger": "WARN",
}


def render_logback() -> bytes:
    """Return the ``logback.xml`` of a profile: one file a day, 5 MB at most, 20 MB and a week in all."""
    configuration = ET.Element("configuration", scan="true", scanPeriod="10 seconds")
    appender = ET.SubElement(configuration, "appender", {"name": "FILE", "class": _rolling("RollingFileAppender")})
    policy = ET.SubElement(appender, "rollingPolicy", {"class": _POLICY})
    for name, value in {
        "fileNamePattern": "logs/gw.%d{yyyy-MM-dd}.%i.log",
        "maxFileSize": "5MB",
        "maxHistory": "7",
        "totalSizeCap": "20MB",
    }.items():
        ET.SubElement(policy, name).text = value
    ET.SubElement(ET.SubElement(appender, "encoder"), "pattern").text = _PATTERN
    for name, level in _LEVELS.items():
        ET.SubElement(configuration, "logger", name=name, level=level)
    root = ET.SubElement(configuration, "root", level="WARN")
    ET.SubElement(root, "appender-ref", ref="FILE")
    ET.indent(configuration)
    written = io.BytesIO()
    ET.ElementTree(configuration).write(written, encoding="UTF-8", xml_declaration=True)
    return written.getvalue() + b"\n"


def _rolling(name: str) -> str:
    return f"ch.qos.logback.core.rolling.{name}"
