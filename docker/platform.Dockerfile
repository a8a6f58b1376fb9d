# Airflow, MLflow, DVC, training and the `palier` commands: one image, several commands (see compose.yaml).
# Build from the top of the repository: docker build -f docker/platform.Dockerfile -t palier-platform .
FROM python:3.11-slim-bookworm
# git: DVC and the workspace. libgomp1: torch, ONNX Runtime, llama.cpp.
RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home palier \
 && install -d -o palier /var/lib/palier /var/lib/airflow /var/lib/mlflow /workspace
# The platform's packages, and what Celery, Redis and Postgres need: every file with its hash.
COPY requirements/production.txt /build/
RUN python -m venv /opt/palier \
 && /opt/palier/bin/pip install --no-cache-dir --no-deps --require-hashes -r /build/production.txt
# The paths of the checkout are kept: `palier init` copies params.yaml and dvc.yaml from here.
COPY . /app
RUN /opt/palier/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable /app
ENV PATH=/opt/palier/bin:$PATH PYTHONUNBUFFERED=1 AIRFLOW_HOME=/var/lib/airflow PALIER_STATE_DIR=/var/lib/palier \
    PALIER_WORKSPACE=/workspace AIRFLOW__CORE__DAGS_FOLDER=/app/dags AIRFLOW__CORE__LOAD_EXAMPLES=False \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true SCARF_ANALYTICS=false OMP_NUM_THREADS=1
WORKDIR /workspace
USER 10001
