"""Simplified Chinese of tenants and quotas."""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "Account": "账户",
    "Guaranteed": "保障",
    "Borrowed": "借用",
    "Edit": "编辑",
    "Edit the quota of {account}": "编辑 {account} 的配额",
    "No tenant holds anything or has a quota.": "没有租户占用资源或设有配额。",
    "holds {held} % of {limit} %": "占用 {held} %，上限 {limit} %",
    "over its quota": "超出配额",
    "{account} would be over: {what}. Nothing is taken away, nothing more is given.": "{account} 将超出配额：{what}。已占用的不会收回，但不再分配新的。",
    "Projects that may hold more than that: {names}": "上限高于此值的项目：{names}",
    "{n} waiting requests would be kept out.": "{n} 个等待中的请求将被拒之门外。",
    "{n} waiting requests would be let in, if there is room.": "若有空间，{n} 个等待中的请求将获准。",
    "Guarantees would add up to {given} %, and there are {offered} %.": "保障总和将达 {given} %，而资源池只有 {offered} %。",
    "Nobody would be over.": "没有账户会超出配额。",
    "Compute limit": "算力上限",
    "Guaranteed compute": "保障算力",
    "Memory limit": "显存上限",
    "Guaranteed memory": "保障显存",
    "Slices at a time": "同时切片数",
    "Highest priority": "最高优先级",
    "Quota of {account}": "{account} 的配额",
    "Set a quota": "设置配额",
    "Not looked at yet.": "尚未查看影响。",
    "Another admin changed this quota meanwhile. Look at it, and set it again.": "另一位管理员刚刚更改了此配额。请查看后重新设置。",
    "The quota is set.": "配额已设置。",
    "200 % are two whole devices. What is empty is not limited.": "200 % 表示两台完整设备；留空表示不限制。",
    "Show the effect": "查看影响",
    "Save": "保存",
    "Tenant, or tenant/project": "租户，或 租户/项目",
}
