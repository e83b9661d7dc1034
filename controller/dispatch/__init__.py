"""The dispatcher's protocol: messages, their acceptance, and the MQTT link that carries them.

`message`, `sealing`, `receipts` and `acceptance` are pure; `link`, `memory` and `secret_files` are
the edges.
"""
