"""Airflow's own limits, in its tests so large that only what hangs meets them, on however slow a machine."""

PATIENT: dict[str, str] = {
    # To read a DAG file, alone and in a process of the DAG processor; and when a DAG counts as gone.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
    "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "600",
    # When a scheduler or a task that says nothing counts as dead, or a task as never begun.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "600",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "1800",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "1800",
    # An answer to a task.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    # One request to the index.
    "MILVUS_TIMEOUT_S": "120",
}
