"""The profile's gateway folder, built from an invented release."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from gwctl.errors import ReleaseBroken
from gwctl.gateway.work_folder import GatewaySettings, PreparedHome, prepare_home
from gwctl.paths import Paths

_CONF = """
ip2loc: "US"
proxyRemoteSsl: true
proxyRemoteHost: "https://api.ibkr.com"
listenPort: 5000
listenSsl: false
authDelay: 3000
unknownToUs: {kept: 1}
cors: {origin.allowed: "*", allowCredentials: true}
webApps: [{name: "demo", index: "index.html"}]
ips: {allow: [10.*, 192.*], deny: [212.90.324.10]}
"""


def _release(folder: Path) -> Path:
    for name in ("bin/run.sh", "dist/gw.jar", "build/lib/x.jar", "root/vertx.jks", "root/conf.beta.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "root/conf.yaml").write_text(_CONF)
    (folder / "root/logback.xml").write_text("<configuration><root level='DEBUG'/></configuration>")
    demo = folder / "root/webapps/demo"
    demo.mkdir(parents=True)
    (demo / "index.html").write_text('GATEWAY_BASE_URL = "https://localhost:5000/v1/api"')
    (demo / "gateway.demo.js").write_text('this.wsUrl = "wss://localhost:5000/v1/api/ws"')
    (demo / "big.css").write_text("localhost:5000 in a style is nobody's address")
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return _release(tmp_path / "release-1")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("one", tmp_path / "home")


def _settings(**changed: Any) -> GatewaySettings:
    values: dict[str, Any] = {"port": 6123, "upstream": "http://127.0.0.1:9"} | changed
    return GatewaySettings(**values)


def _conf(prepared: PreparedHome) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((prepared.gateway_dir / "root/conf.yaml").read_text())
    return loaded


def test_conf_is_the_releases_own_with_ours_put_in(paths: Paths, release: Path) -> None:
    """Our settings replace dangerous ones and those of the profile; the release's other settings stay."""
    prepared = prepare_home(paths, release, _settings(auth_delay_ms=500))
    conf = _conf(prepared)
    assert conf["listenPort"] == 6123
    assert conf["listenSsl"] is True
    assert (conf["proxyRemoteHost"], conf["proxyRemoteSsl"]) == ("http://127.0.0.1:9", False)
    assert conf["ips"] == {"allow": ["127.0.0.1"], "deny": ["255.255.255.255"]}
    assert "*" not in conf["cors"]["origin.allowed"]
    assert conf["cors"]["allowCredentials"] is False
    assert conf["authDelay"] == 500
    assert (conf["sslCert"], conf["sslPwd"]) == ("gwctl.p12", prepared.leaf.password)
    assert conf["unknownToUs"] == {"kept": 1}
    assert _conf(prepare_home(paths, release, _settings()))["authDelay"] == 3000


def test_the_folder_is_private_and_linked(paths: Paths, release: Path) -> None:
    """bin, build and dist are links, conf.yaml is 0600, each of our folders 0700, the public key is left out."""
    home = prepare_home(paths, release, _settings()).gateway_dir
    assert {name: (home / name).readlink() for name in ("bin", "build", "dist")} == {
        name: release / name for name in ("bin", "build", "dist")
    }
    assert (home / "root/conf.yaml").stat().st_mode & 0o777 == 0o600
    for folder in (home, home / "root", home / "logs", paths.logs_dir, paths.profile_dir):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(entry.name for entry in (home / "root").iterdir()) == [
        "conf.yaml", "gwctl.p12", "logback.xml", "webapps"
    ]  # fmt: skip


def test_the_demo_page_reaches_this_gateway(paths: Paths, release: Path) -> None:
    """Page and script name the profile's port; files that name no port are linked; the release is never written to."""
    demo = prepare_home(paths, release, _settings()).gateway_dir / "root/webapps/demo"
    assert "https://localhost:6123/v1/api" in (demo / "index.html").read_text()
    assert "wss://localhost:6123/v1/api/ws" in (demo / "gateway.demo.js").read_text()
    assert (demo / "big.css").is_symlink()
    assert "localhost:5000" in (release / "root/webapps/demo/index.html").read_text()
    # On the shipped port too: a server may refuse a link that leads out of its folder.
    prepare_home(paths, release, _settings(port=5000))
    assert not (demo / "index.html").is_symlink()
    assert "localhost:5000" in (demo / "index.html").read_text()


def test_logging_is_quiet_and_capped(paths: Paths, release: Path) -> None:
    """The log has nothing below WARN but the proxy's own milestones, and limits on size and history."""
    home = prepare_home(paths, release, _settings()).gateway_dir
    tree = ET.parse(home / "root/logback.xml")  # noqa: S314 - we wrote it
    assert tree.getroot().find("root").get("level") == "WARN"  # type: ignore[union-attr] # there is a root logger
    assert tree.findtext(".//rollingPolicy/totalSizeCap") == "20MB"
    assert tree.findtext(".//rollingPolicy/maxFileSize") == "5MB"
    assert {one.get("level") for one in tree.iter("logger")} == {"INFO", "WARN"}


def test_again_it_writes_nothing(paths: Paths, release: Path) -> None:
    """A second preparation with the same settings changes no file; another port changes only what depends on it."""
    prepare_home(paths, release, _settings())
    assert prepare_home(paths, release, _settings()).changed == ()
    names = {path.name for path in prepare_home(paths, release, _settings(port=6124)).changed}
    assert names == {"conf.yaml", "index.html", "gateway.demo.js"}


def test_another_release_is_linked_in_its_place(paths: Paths, release: Path, tmp_path: Path) -> None:
    """After a change of the release, no link leads to the old one."""
    prepare_home(paths, release, _settings())
    other = _release(tmp_path / "release-2")
    (other / "root/webapps/demo/big.css").unlink()
    home = prepare_home(paths, other, _settings()).gateway_dir
    links = [entry for entry in home.rglob("*") if entry.is_symlink()]
    assert links
    assert all(link.readlink().is_relative_to(other) for link in links)


def test_what_stands_in_the_way_is_replaced(paths: Paths, release: Path) -> None:
    """A folder in place of a link, and a link in place of our file, are replaced."""
    home = prepare_home(paths, release, _settings()).gateway_dir
    (home / "bin").unlink()
    (home / "bin").mkdir()
    (home / "root/conf.yaml").unlink()
    (home / "root/conf.yaml").symlink_to(release / "root/conf.yaml")
    prepare_home(paths, release, _settings())
    assert (home / "bin").readlink() == release / "bin"
    assert not (home / "root/conf.yaml").is_symlink()
    assert (release / "root/conf.yaml").read_text() == _CONF


@pytest.mark.parametrize("conf", ["- a\n", "a: [", ""])
def test_a_release_without_a_sound_conf_is_broken(paths: Paths, release: Path, conf: str) -> None:
    """If conf.yaml is not a mapping, the error blames the release."""
    (release / "root/conf.yaml").write_text(conf)
    with pytest.raises(ReleaseBroken):
        prepare_home(paths, release, _settings())
