DROP TABLE sink_dead_letters;
DROP TABLE sink_cursors;
