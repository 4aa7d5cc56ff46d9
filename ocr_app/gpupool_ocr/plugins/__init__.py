"""Python functions of others, each in a process of its own: one that crashes, hangs or talks nonsense harms its own call only.

PluginStep ──feed──> PluginGroup ──a free one──> PluginProcess ══socket pair, MessagePack══> child ──> function
"""
