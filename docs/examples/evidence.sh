# The log's public key: publish it where those who check will look for it
aam trail keys --dir access

# Everything that an auditor needs, in one file: records, keys, signed head, proofs, manifest, and how to check it
aam trail export evidence.zip --dir access

# On the auditor's machine; with --key and the key from elsewhere, the report rests on that and not on the bundle's own word
python -m broker.audit verify evidence.zip

# The same for other programs: a spreadsheet, a security data lake (OCSF 1.8)
aam trail export calls.csv --since 2026-11-01 --dir access
aam trail export events.json --format ocsf --dir access

# A head that you keep elsewhere finds out a log that is rewritten later
aam trail checkpoint --dir access > head

# One page to file
aam trail report november.html --month 2026-11 --dir access
