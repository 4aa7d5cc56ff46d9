"""Who is who and what they did: passwords, users, sessions, the audit log.

credential ──> Doorkeeper ──(TokenDesk | SessionDesk ──> UserDesk)──> Principal ──> REST ──> AuditDesk
"""
