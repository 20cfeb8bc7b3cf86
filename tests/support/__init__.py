"""What the tests of the doors, the pipeline and the process share: a service, documents, brokers and real clients."""
