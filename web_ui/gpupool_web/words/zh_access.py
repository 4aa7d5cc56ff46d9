"""Simplified Chinese of signing in, of users and tokens, the audit log and the settings."""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "Name, password or token is wrong, or does not hold any more.": "用户名、密码或令牌有误，或已失效。",
    "Too many attempts: try again in {seconds} s.": "尝试次数过多：请在 {seconds} 秒后重试。",
    "The broker does not answer: try again in a moment.": "代理服务没有响应：请稍后重试。",
    "That link was used already: sign in with name and password, or with a token.": (
        "该链接已被使用：请用用户名和密码或令牌登录。"
    ),
    "The provider did not sign you in, or its answer gives you no role here. An admin finds the reason in the audit log.": (
        "身份提供方没有让您登录，或其答复没有赋予您此处的角色。管理员可在审计日志中找到原因。"
    ),
    "The form was not understood.": "无法理解所提交的表单。",
    "Name": "用户名",
    "Password": "密码",
    "Token": "令牌",
    "Sign in": "登录",
    "Sign in with the token": "用令牌登录",
    "Sign in with {provider}": "通过 {provider} 登录",
    "With a token": "使用令牌",
    "On the machine of the broker the admin's token lies in GPUPOOL_HOME/admin.token.": (
        "管理员令牌位于代理服务所在机器的 GPUPOOL_HOME/admin.token。"
    ),
    "The old password is wrong.": "旧密码有误。",
    "That cannot be the password: it needs 10 characters or more, and may not be your name or the old one.": (
        "该密码不可用：至少需要 10 个字符，且不得与用户名或旧密码相同。"
    ),
    "The two new passwords differ.": "两次输入的新密码不一致。",
    "It could not be changed: try again in a moment.": "未能更改：请稍后重试。",
    "Old or one-time password": "旧密码或一次性密码",
    "New password": "新密码",
    "New password again": "再次输入新密码",
    "Choose it": "确定",
    "Your other sessions end.": "您的其他会话将结束。",
    "Choose a password": "设置密码",
}
