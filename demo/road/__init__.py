"""The four journeys, walked with real parts, in this order.

catalogue_to_index   a catalogue becomes a collection that is served (Airflow, Milvus)
change_to_index      changes arrive in search within seconds (Kafka)
query_to_exposure    shoppers search, with and without (the funnel, the plugin)
logs_to_decision     what happened becomes a weekly page (Parquet, Airflow)
as_in_a_shop         then one question over HTTP, as a shop would ask it (the sidecar, the service)
"""
