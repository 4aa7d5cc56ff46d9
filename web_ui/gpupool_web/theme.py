"""How the pages look: one sheet, light and dark, no font or script from anywhere else."""

from __future__ import annotations

CSS = """
:root { --line: #d9dde3; --quiet: #5b6572; --panel: #ffffff; --ground: #f4f5f7; --ink: #1b2129; --accent: #0b5cad;
        --bar: #e6e9ee; --bad: #b3261e; --good: #1a7f4b; }
.body--dark { --line: #30363f; --quiet: #9aa5b3; --panel: #1a1e24; --ground: #121519; --ink: #e6e9ee; --accent: #7ab8ff;
              --bar: #2a3038; --bad: #ff8a80; --good: #6fd39b; }
body, .q-page { background: var(--ground); color: var(--ink);
  font-family: system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
.nicegui-content { padding: 0; gap: 0; }
.q-header { align-items: center; background: var(--panel) !important; color: var(--ink) !important;
            border-bottom: 1px solid var(--line); }
.gp-main { width: 100%; max-width: 1280px; margin: 0 auto; padding: 20px 24px 48px; gap: 20px;
           display: flex; flex-direction: column; }
.gp-panel { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 16px 18px; width: 100%; }
.gp-h { font-size: 15px; font-weight: 600; margin: 0 0 12px; }
.gp-quiet { color: var(--quiet); font-size: 13px; }
.gp-tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px; width: 100%; }
.gp-tile-title { color: var(--quiet); font-size: 13px; }
.gp-tile-text { font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; margin: 4px 0 10px; white-space: nowrap; }
.gp-bar { display: flex; height: 20px; background: var(--bar); border-radius: 4px; overflow: hidden; width: 100%; }
.gp-bar-thin { height: 6px; }
.gp-segment { color: #fff; font-size: 12px; line-height: 20px; padding: 0 6px; overflow: hidden; white-space: nowrap;
              text-overflow: ellipsis; border-right: 1px solid var(--panel); box-sizing: border-box; min-width: 2px; }
.gp-device { display: grid; grid-template-columns: 230px 1fr 170px; gap: 6px 16px; align-items: center; padding: 10px 0;
             border-top: 1px solid var(--line); width: 100%; }
.gp-device:first-of-type { border-top: none; }
.gp-num { font-variant-numeric: tabular-nums; text-align: right; font-size: 13px; white-space: nowrap; }
.gp-badge { display: inline-block; border: 1px solid var(--line); border-radius: 4px; padding: 0 6px; font-size: 12px;
            color: var(--quiet); margin-left: 6px; }
.gp-good { color: var(--good); } .gp-bad { color: var(--bad); }
.gp-trouble { background: var(--bad); color: #fff; padding: 10px 24px; width: 100%; font-size: 14px; }
.body--dark .gp-trouble { color: #1b0d0c; }
.q-table { font-variant-numeric: tabular-nums; }
.q-table__card { background: var(--panel) !important; color: var(--ink); box-shadow: none; }
.q-table th { color: var(--quiet); font-weight: 600; }
.gp-sums th { white-space: normal; vertical-align: top; line-height: 1.3; }
.gp-sums th, .gp-sums td { padding: 6px 8px !important; }
.gp-sums tbody tr:last-child td { font-weight: 600; }
.q-header .gp-quiet, .q-header .gp-nav { line-height: 28px; }
.gp-nav a { color: var(--quiet); text-decoration: none; padding: 4px 10px; border-radius: 6px; font-size: 14px; }
.gp-nav a.gp-here { color: var(--accent); font-weight: 600; }
@media (max-width: 1240px) { .gp-tiles { grid-template-columns: repeat(3, 1fr); } }
@media (max-width: 900px) { .gp-tiles { grid-template-columns: repeat(2, 1fr); } .gp-device { grid-template-columns: 1fr; } }
"""
