"""`gpupool prices`, `gpupool carbon`: what use costs, and stands for, from a day on."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_or_say, print_table
from gpupool.commands.slices import broker_rest

PRICES: Final[tuple[Column, ...]] = (
    ("valid from", field("valid_from")),
    ("model", lambda row: row["model"] or "all"),
    ("currency", field("currency")),
    ("reserved /%·h", field("reserved_pct_hour")),
    ("memory /GiB·h", field("memory_gib_hour")),
    ("used /h", field("used_hour")),
    ("burst /h", field("burst_hour")),
    ("idle /%·h", field("idle_pct_hour")),
    ("energy /kWh", field("energy_kwh")),
    ("by", field("by")),
    ("entered (UTC)", moment("entered_at")),
)
FACTORS: Final[tuple[Column, ...]] = (
    ("valid from", field("valid_from")),
    ("g/kWh", field("grams_per_kwh")),
    ("by", field("by")),
    ("entered (UTC)", moment("entered_at")),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    prices = typer.Typer(help="What devices cost, from a day on.", no_args_is_help=True)
    prices.command("list")(list_prices)
    prices.command("set")(set_price)
    app.add_typer(prices, name="prices")
    carbon = typer.Typer(help="Grams of CO2 a kilowatt-hour stands for, from a day on.", no_args_is_help=True)
    carbon.command("list")(list_carbon)
    carbon.command("set")(set_carbon)
    app.add_typer(carbon, name="carbon")


def list_prices(as_json: Json = False, http: Http = None) -> None:
    """Show every price that was entered; of two for the same model and day, the later holds."""
    found = broker_rest(http).get("/prices")
    if as_json:
        print_json(found)
    else:
        print_table(found, PRICES, "no prices are set")


def set_price(
    valid_from: Annotated[str, typer.Argument(help="First day it holds, such as 2026-10-01.")],
    currency: Annotated[str, typer.Option(help="Three letters, such as EUR; one for the whole list.")],
    model: Annotated[str, typer.Option(help="Of one device model [default: every model without a price of its own].")] = "",
    reserved: Annotated[str, typer.Option(help="For one per cent of a device held for an hour.")] = "0",
    memory: Annotated[str, typer.Option(help="For one GiB held for an hour.")] = "0",
    used: Annotated[str, typer.Option(help="For an hour of device time used.")] = "0",
    burst: Annotated[str, typer.Option(help="For an hour used beyond what a burst slice held.")] = "0",
    idle: Annotated[str, typer.Option(help="On top, for one per cent held for an hour and not used.")] = "0",
    energy: Annotated[str, typer.Option(help="For a kilowatt-hour.")] = "0",
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Enter a price."""
    made = broker_rest(http).post(
        "/prices",
        {
            "valid_from": valid_from,
            "currency": currency,
            "model": model,
            "reserved_pct_hour": reserved,
            "memory_gib_hour": memory,
            "used_hour": used,
            "burst_hour": burst,
            "idle_pct_hour": idle,
            "energy_kwh": energy,
        },
    )
    print_or_say(made, as_json, f"the price of {model or 'every model'} holds from {valid_from} on")


def list_carbon(as_json: Json = False, http: Http = None) -> None:
    """Show every carbon factor that was entered."""
    found = broker_rest(http).get("/carbon")
    if as_json:
        print_json(found)
    else:
        print_table(found, FACTORS, "no carbon factor is set")


def set_carbon(
    valid_from: Annotated[str, typer.Argument(help="First day it holds, such as 2026-10-01.")],
    grams: Annotated[str, typer.Option(help="Grams of CO2 a kilowatt-hour.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Enter a carbon factor."""
    made = broker_rest(http).post("/carbon", {"valid_from": valid_from, "grams_per_kwh": grams})
    print_or_say(made, as_json, f"{grams} g/kWh hold from {valid_from} on")
