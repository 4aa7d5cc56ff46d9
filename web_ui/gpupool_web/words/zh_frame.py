"""Simplified Chinese of the frame around every page."""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "Overview": "概览",
    "Devices": "设备",
    "Slices": "切片",
    "Queue": "队列",
    "Tenants & quotas": "租户与配额",
    "Reports": "报表",
    "Pages": "页面",
    "Skip to the content": "跳到正文",
    "Sign out": "退出登录",
    "Language": "语言",
    "Appearance": "外观",
    "Follow the system": "跟随系统",
    "Light": "浅色",
    "Dark": "深色",
    "admin": "管理员",
    "finance": "财务",
    "tenant": "租户",
    "{trouble}. Trying again every second; what is shown may be old.": "{trouble}。每秒重试一次；页面上的内容可能已过时。",
    "The broker answers again.": "调度服务已恢复响应。",
    "The broker does not answer": "调度服务没有响应",
    "This is not allowed": "没有权限",
    "There is nothing of that name": "没有找到",
    "It is not possible as things stand": "当前状态下无法执行",
    "The request is refused": "请求被拒绝",
    "That is over a limit": "超出上限",
    "What was entered cannot be": "输入有误",
    "It has failed": "执行失败",
    "Live": "实时",
    "Not connected": "未连接",
}
