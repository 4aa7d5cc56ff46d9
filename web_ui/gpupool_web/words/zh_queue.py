"""Simplified Chinese of the queue."""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "Kind of device": "设备类型",
    "Compute (%)": "算力（%）",
    "Position": "位置",
    "Asks for": "请求",
    "Priority": "优先级",
    "Waits for": "已等待",
    "Who": "请求者",
    "Explain": "解释",
    "Explain request {request}": "解释请求 {request}",
    "Cancel request {request}": "取消请求 {request}",
    "would be granted": "可以满足",
    "would not be granted now": "目前无法满足",
    "Quota": "配额",
    "Who would give way": "谁会让出资源",
    "What would admit it": "怎样才能满足",
    "Free": "空闲算力",
    "Free memory": "空闲显存",
    "fits": "可容纳",
    "Reservation": "预留",
    "From": "开始",
    "Until": "结束",
    "Kept": "保留中",
    "Lacks": "缺少",
    "Reservations": "预留",
    "Nothing is reserved.": "没有预留。",
    "What if?": "假设请求",
    "Nothing is asked for.": "不会真正提交请求。",
    "Cancel this request?": "取消此请求？",
    "Who waits for it is told.": "将通知等待者。",
    "Cancel the request": "取消请求",
    "It is cancelled.": "已取消。",
    "Why it waits": "等待原因",
    "Close": "关闭",
}
