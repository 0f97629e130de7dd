"""The MQTT 5 link: state and events out, commands in, discovery for Home Assistant."""
