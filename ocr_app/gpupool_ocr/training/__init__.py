"""A new recognition head from labelled lines: the network stays as it is, its last projection is trained anew.

labelled pages ──crops──> frozen network (slice or CPU) ──features──> head ──CTC──> new head ──> ONNX model, card
                           6 : 2 : 2 by page: trained on, chosen by, measured on
"""
