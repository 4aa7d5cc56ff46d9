"""Bad cases: pages that were read with doubt, failed, or were corrected, kept to learn from.

reading ──reason_for──> CaseStore.add (redacted, unless opted out) ──label──> export ──> `gpupool ocr tune`, `eval`
                            prune: by age, by bytes
"""
