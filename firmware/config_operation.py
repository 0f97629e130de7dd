"""The tables of site.toml for those who look at the site and command it: MQTT, page, metrics."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from firmware.config_models import Name, Path, Says, Table

Host = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.:%-]{0,253}$"), Says("an IP address or a host name")
]
PortOrNone = Annotated[int, Field(ge=0, le=65535), Says("a TCP port; 0: none")]
Role = Literal["viewer", "operator", "supervisor", "grid_operator", "market", "installer"]


class Broker(Table):
    """`[trading.broker]`: where the neighbours' market is; left out: at the broker of `[mqtt]`."""

    where: ClassVar[str] = "trading.broker"  # in error lines

    host: Host = Field("", description='The broker, for example "127.0.0.1"; empty: none.')
    port: int = Field(1883, ge=1, le=65535, description="8883 is usual with TLS.")
    tls_ca: Path = Field("", description="Certificate of the authority; given: TLS is used.")
    tls_certificate: Path = Field("", description="This box's certificate, for the broker.")
    tls_key: Path = Field("", description="And its key.")
    username: Annotated[str, Says("a text of 128 characters at most")] = Field(
        "", max_length=128, description="Where the broker asks for one."
    )
    password_file: Path = Field("", description="A file whose first line is the password.")
    keepalive_s: int = Field(20, ge=5, le=600, description="Silence after which a link is dead.")


class Mqtt(Broker):
    """`[mqtt]`: the link to supervisor and home automation; see docs/mqtt.md."""

    where: ClassVar[str] = "mqtt"

    state_s: float = Field(5.0, ge=1, le=60, description="How often state is published at most.")
    queue: int = Field(
        1000, ge=10, le=100000, description="Messages that wait in memory at most, without a store."
    )
    discovery: bool = Field(True, description="Announce the site to Home Assistant.")
    discovery_prefix: Annotated[str, Says("a topic level: letters, digits, - and _")] = Field(
        "homeassistant",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Home Assistant's discovery prefix.",
    )


class CommandSource(Table):
    """A `[[commands.source]]`: somebody who may command the site over MQTT, and as what."""

    name: Name = Field(description="As in the envelope's `src`.")
    role: Role = Field(description="Decides what the source may order, and its priority.")
    public_key: Annotated[str, Says("base64 of an Ed25519 public key, or empty")] = Field(
        "",
        pattern=r"^([A-Za-z0-9+/]{43}=)?$",
        description="Every command must be signed with its key; empty: unsigned ones count,"
        " and whoever may publish to the topic can give them.",
    )


class Commands(Table):
    """`[commands]`: who may command over MQTT. The local socket needs no entry here."""

    source: tuple[CommandSource, ...] = Field((), description="None: no command over MQTT.")


class Trading(Table):
    """`[trading]`: energy traded with neighbours; see docs/market.md. Control never waits for it.

    Qayyum 2023's own way (one swarm over the storage of all houses) needs everybody's data in one
    place: it is on the bench only.
    """

    enabled: bool = Field(False, description="Trade, once the box is in a community.")
    folder: Annotated[str, Says("a path", "path")] = Field(
        "/var/lib/nanogrid/trading",
        min_length=1,
        description="Key, membership document and ledger; the service must be able to write there.",
    )
    strategy: Literal["together", "alone"] = Field(
        "together",
        description="together: agree with neighbours on the prices of the day ahead, and plan"
        " storage for them; alone: plan for the tariff, and trade what is left over.",
    )
    broker: Broker = Broker()


class Web(Table):
    """`[web]`: the local page to look at."""

    host: Host = Field("127.0.0.1", description="Where it listens; it asks nobody for a password.")
    port: PortOrNone = Field(0, description="For example 8080; 0: no page.")


class Metrics(Table):
    """`[metrics]`: figures for Prometheus."""

    host: Host = Field("127.0.0.1", description="Where it listens.")
    port: PortOrNone = Field(0, description="For example 9109; 0: none.")
