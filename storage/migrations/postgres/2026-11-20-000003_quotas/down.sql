DROP TABLE quota_holds;
DROP TABLE quota_windows;
