import json
from itertools import chain

from kafka import KafkaConsumer, TopicPartition

consumer = KafkaConsumer(
    bootstrap_servers="localhost:9092", isolation_level="read_committed", auto_offset_reset="earliest"
)
partitions = [TopicPartition("tracks", number) for number in consumer.partitions_for_topic("tracks")]
consumer.assign(partitions)
ends, picture, shown = consumer.end_offsets(partitions), {}, False
while True:
    for record in chain(*consumer.poll(timeout_ms=500).values()):
        update = record.value and json.loads(record.value)
        if update and update["status"] != "TERMINATED":
            picture[record.key] = update
        else:  # its last update, or the record without a value that follows it
            picture.pop(record.key, None)
        if shown and update:
            print(update["status"], update["track_id"], update["lat"], update["lon"])
    if not shown and all(consumer.position(partition) >= end for partition, end in ends.items()):
        shown = True
        print(f"{len(picture)} tracks now; updates follow")
