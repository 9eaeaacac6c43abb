FROM python:3.11.14-slim-bookworm

# What pyproject.toml calls extras, separated by commas: gpu, jax.
ARG EXTRAS=""

# Whatever user a container is given can write here, even one that has no entry in /etc/passwd.
ENV HOME=/tmp \
    KERAS_HOME=/data \
    PYTHONUNBUFFERED=1 \
    TZ=UTC

WORKDIR /app
RUN useradd --uid 1000 --no-create-home search \
    && install --directory --mode 1777 /data /app/runs

# Packages are installed before our own files are there, in a layer that only a change of these
# four replaces: it is a thousand times the size of ours. Nothing here is compiled, so a second
# stage would save nothing. TensorFlow's C++ headers, 430 MB, serve nobody who runs Python.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN mkdir search studies \
    && touch search/__init__.py studies/__init__.py \
    && python -m pip install --quiet --disable-pip-version-check --no-cache-dir \
        --constraint requirements.lock --editable ".${EXTRAS:+[$EXTRAS]}" \
    && rm -rf /usr/local/lib/python3.11/site-packages/tensorflow/include

COPY search search
COPY studies studies

USER search
CMD ["python", "-m", "search"]
