"""An offline emulator of Stripe: the HTTP API, the hosted pages and signed webhooks.

All state is in the memory of one process. The official SDK is imported only for its types: the parameter TypedDicts
define what a request may contain, the resource classes define the fields of an object.
"""
