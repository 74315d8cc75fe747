"""Networks and their parts: functions of ``(x, level, cond, mask)`` that know of no schedule and no modality."""
