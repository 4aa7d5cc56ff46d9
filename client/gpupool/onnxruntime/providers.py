"""Execution providers as a slice has them.

A slice is a share of one device, so what a program asks for is checked as ONNX Runtime checks it, and then the device's own
providers serve it. A program that names no more than CPUExecutionProvider (many do so by default) also gets the slice's device:
using the slice is what it was started under gpupool for.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gpupool.onnxruntime.facade.functions import KNOWN_PROVIDERS

CPU = "CPUExecutionProvider"
_EXCLUSIVE = {"TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"}

Providers = Sequence[str | tuple[str, dict[Any, Any]]] | None
ProviderOptions = Sequence[dict[Any, Any]] | None


def normalize(providers: Providers, options: ProviderOptions, available: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the provider names and their options, as texts, in the order asked for; two empty lists for None.

    Warns of names the slice does not offer and of repetitions. Raises ValueError where the arguments are not what they should be.
    """
    if providers:
        asked = {provider[0] if isinstance(provider, tuple) else provider for provider in providers if provider}
        if asked >= _EXCLUSIVE:
            raise ValueError(f"Cannot enable both {' and '.join(map(repr, sorted(_EXCLUSIVE)[::-1]))} in the same session.")
    if providers is None:
        return [], []
    chosen: dict[str, dict[str, str]] = {}
    for name, settings in _pairs(providers, options):
        if name not in available:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names.Available providers: '{', '.join(available)}'",
                stacklevel=4,
            )
        if name in chosen:
            warnings.warn(f"Duplicate provider '{name}' encountered, ignoring.", stacklevel=4)
            continue
        chosen[name] = {str(key): str(value) for key, value in settings.items()}
    return list(chosen), list(chosen.values())


def _pairs(providers: Providers, options: ProviderOptions) -> list[tuple[str, dict[Any, Any]]]:
    if not isinstance(providers, Sequence):
        raise ValueError("'providers' should be a sequence.")  # noqa: TRY004 - ONNX Runtime's own class for it
    if options is None:
        return [_pair(provider) for provider in providers]
    if not isinstance(options, Sequence):
        raise ValueError("'provider_options' should be a sequence.")  # noqa: TRY004
    if len(providers) != len(options):
        raise ValueError("'providers' and 'provider_options' should be the same length if both are given.")
    names = [provider for provider in providers if isinstance(provider, str)]
    if len(names) != len(providers):
        raise ValueError("Only string values for 'providers' are supported if 'provider_options' is given.")
    if not all(isinstance(entry, dict) for entry in options):
        raise ValueError("'provider_options' values must be dicts.")
    return list(zip(names, options, strict=True))


def _pair(provider: object) -> tuple[str, dict[Any, Any]]:
    match provider:
        case str():
            return provider, {}
        case (str() as name, dict() as settings) if isinstance(provider, tuple):
            return name, settings
    raise ValueError("'providers' values must be either strings or (string, dict) tuples.")


def asked_of_slice(names: Sequence[str], available: Sequence[str]) -> list[str]:
    """Return the providers to ask the worker for; empty for the device's own.

    Raises RuntimeError for a name ONNX Runtime has never heard of. Known ones the slice does not offer are left out, as
    ONNX Runtime leaves out those it was built without.
    """
    for name in names:
        if name not in KNOWN_PROVIDERS and name not in available:
            raise RuntimeError(f"Unknown Provider Type: {name}")
    offered = [name for name in names if name in available]
    return [] if set(offered) <= {CPU} else offered
