# The gateway, and nothing of the platform: no torch, MLflow, Airflow or DVC. Build from the top of the repository:
#   docker build -f docker/gateway.Dockerfile -t palier-gateway .
FROM python:3.11-slim-bookworm AS build
# The lock holds a hash of every file, so a registry cannot put another one in its place.
COPY requirements/gateway.txt /build/
RUN python -m venv /opt/palier \
 && /opt/palier/bin/pip install --no-cache-dir --no-deps --require-hashes -r /build/gateway.txt

FROM python:3.11-slim-bookworm
# llama.cpp and ONNX Runtime compute with OpenMP.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home palier && install -d -o palier /var/lib/palier
COPY --from=build /opt/palier /opt/palier
COPY models.yaml /app/
COPY src /app/src
COPY serving /app/serving
ENV PATH=/opt/palier/bin:$PATH PYTHONPATH=/app/src:/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PALIER_STATE_DIR=/var/lib/palier OMP_NUM_THREADS=1
WORKDIR /app
USER 10001
EXPOSE 8000
# Alive, not ready: a gateway without a release yet is healthy. A load balancer asks /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["uvicorn", "--factory", "serving.app:create_app", "--host", "0.0.0.0", "--port", "8000"]
