# A starter set of documents: a broker, an agent, its policy, a Salesforce connector, a development trust domain
aam init access
aam check access

# In a terminal of its own: it says when it serves, and goes on until Ctrl-C
aam serve access --development

# Connect an account: the app's consumer key, the user as whom the broker acts, the app's private key
aam grants add salesforce --client-id 3MVG9... --subject broker@example.com --key-file app.pem --dir access

# What an MCP client needs, to be the agent: no secret is in it
aam client-config finance-analyst --dir access

# What the agent can know of; what it did; and that nobody has changed the record of it
aam tools --as finance-analyst --dir access
aam trail tail --dir access
aam trail verify --dir access
