"""`gpupool broker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `gpupool broker` to the root application."""
    app.command("broker")(broker)


def broker(
    bind: Annotated[
        str, typer.Option(help="Control port for clients and agents.", envvar="GPUPOOL_BROKER_BIND")
    ] = "127.0.0.1:7100",
    http: Annotated[str, typer.Option(help="REST.", envvar="GPUPOOL_HTTP")] = "127.0.0.1:7180",
    home: Annotated[Path | None, typer.Option(help="State directory.", envvar="GPUPOOL_HOME")] = None,
    database: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL; default: an SQLite file in the home.", envvar="GPUPOOL_DATABASE")
    ] = None,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby",
            help="Where another broker serves from the same database, wait, and take over when it ends.",
            envvar="GPUPOOL_STANDBY",
        ),
    ] = False,
    snapshot_every: Annotated[
        int, typer.Option(help="Facts between two snapshots, which shorten a restart.", min=1, envvar="GPUPOOL_SNAPSHOT_EVERY")
    ] = 50_000,
    admin_token_file: Annotated[
        Path | None,
        typer.Option(help="Write the first admin token here instead of showing it.", envvar="GPUPOOL_ADMIN_TOKEN_FILE"),
    ] = None,
    admin_password_file: Annotated[
        Path | None,
        typer.Option(
            help="Write the one-time password of the first user, admin, here instead of showing it.",
            envvar="GPUPOOL_ADMIN_PASSWORD_FILE",
        ),
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write the addresses here once serving (JSON).")] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            help="How devices are chosen: fgd+ (default: leaves rests that others can use), fgd, best-fit, pack, spread, random.",
            envvar="GPUPOOL_PLACEMENT",
        ),
    ] = None,
    min_runtime: Annotated[
        float,
        typer.Option(min=0, help="Seconds a slice runs before it may be paused or evicted.", envvar="GPUPOOL_MIN_RUNTIME"),
    ] = 60.0,
    notice: Annotated[
        float, typer.Option(min=0, help="Seconds between the notice to a slice and its eviction.", envvar="GPUPOOL_NOTICE")
    ] = 30.0,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt",
            help="Encrypt the control port [default: beyond loopback]. Its address then names the broker's key.",
            envvar="GPUPOOL_ENCRYPT",
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM) to serve REST with over TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key (PEM) of --tls-cert.")] = None,
    insecure: Annotated[bool, typer.Option(help="Allow binding beyond loopback without encryption.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify-journal", help="Check every record of the journal, say what is damaged, and end.")
    ] = False,
    keep_use: Annotated[
        float,
        typer.Option(
            min=0,
            help="Hours that use is kept as it was told, every ten seconds, before it is folded into quarter hours; 0: for ever.",
            envvar="GPUPOOL_KEEP_USE",
        ),
    ] = 3.0,
    report_every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the schedules of reports.")] = 60.0,
    report_folder: Annotated[
        Path | None, typer.Option(help="Write scheduled reports below this folder [default: reports, in the home].")
    ] = None,
    smtp: Annotated[
        str,
        typer.Option(
            help="Send scheduled reports by this mail server: smtp://, smtps:// or smtp+starttls://[user:password@]host[:port].",
            envvar="GPUPOOL_SMTP",
        ),
    ] = "",
    mail_from: Annotated[str, typer.Option(help="Whom reports come from.", envvar="GPUPOOL_MAIL_FROM")] = "",
    oidc: Annotated[
        Path | None,
        typer.Option(
            help="Let an OpenID provider sign people in, as this file says (TOML, docs/access.md).", envvar="GPUPOOL_OIDC"
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="GPUPOOL_LOG_LEVEL")] = "info",
) -> None:
    """Run the broker: it knows every node and slice, and decides who gets what.

    At its first start it shows the admin token, and the one-time password of the user admin, once.
    """
    from gpupool_wire.addresses import check_bind, parse_address
    from gpupool_wire.home import state_home
    from gpupool_wire.limits import BROKER_PORT, HTTP_PORT

    try:
        from gpupool_broker.main import run_broker, verify_journal
        from gpupool_broker.settings import BrokerSettings
    except ImportError as error:
        typer.echo(f"gpupool broker needs the package {error.name}: install gpupool[broker]", err=True)
        raise typer.Exit(1) from error
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("TLS needs both --tls-cert and --tls-key")
    control = parse_address(bind, BROKER_PORT)
    if encrypt is None:
        encrypt = not (control.is_loopback or insecure)
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    settings = BrokerSettings(
        bind=check_bind(control, insecure=insecure, encrypted=encrypt),
        http=check_bind(parse_address(http, HTTP_PORT), insecure=insecure, encrypted=tls is not None),
        placement=placement,
        min_runtime_s=min_runtime,
        notice_s=notice,
        encrypt=encrypt,
        tls=tls,
        home=home or state_home(),
        database=database,
        standby=standby,
        snapshot_every=snapshot_every,
        admin_token_file=admin_token_file,
        admin_password_file=admin_password_file,
        ready_file=ready_file,
        keep_use_h=keep_use,
        report_every_s=report_every,
        report_folder=report_folder,
        smtp=smtp,
        mail_from=mail_from,
        oidc=oidc,
        log_level=log_level,
    )
    if verify:
        typer.echo(f"all {verify_journal(settings)} records of the journal are as they were written")
    else:
        run_broker(settings)
