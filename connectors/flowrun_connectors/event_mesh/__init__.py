"""SAP Event Mesh: queues of business events, pulled over REST. See README.md."""
