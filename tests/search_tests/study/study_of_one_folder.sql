BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'logged');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["objective"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'plan','{"min_epochs": 1, "max_epochs": 8, "eta": 2, "train_size": 0, "val_size": 0, "val_limit": 0, "param_budget": null, "mac_budget": null, "image_size": 32, "from_top": true, "startup_trials": 10, "param_budgets": []}');
INSERT INTO "study_user_attributes" VALUES(2,1,'space','"logged.py"');
INSERT INTO "study_user_attributes" VALUES(3,1,'data','null');
INSERT INTO "study_user_attributes" VALUES(4,1,'data_source','null');
INSERT INTO "study_user_attributes" VALUES(5,1,'seed','0');
INSERT INTO "study_user_attributes" VALUES(6,1,'forecast 1795274123.092','{"reaching": [6, 3, 1, 1], "seconds": null, "disk": 0, "resumes": true, "epoch_seconds": null, "spent": null}');
INSERT INTO "study_user_attributes" VALUES(7,1,'forecast 1795274126.043','{"reaching": [2, 1, 1, 1], "seconds": null, "disk": 0, "resumes": true, "epoch_seconds": null, "spent": 0.6}');
INSERT INTO "study_user_attributes" VALUES(8,1,'forecast 1795274129.338','{"reaching": [3, 1, 1, 1], "seconds": null, "disk": 0, "resumes": true, "epoch_seconds": null, "spent": null}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,1.40987221892424807734e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,1,1.93783073225139013118e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,1,1.84707781907498747031e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,1.07907309095214376526e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,1,1.73279756360464221032e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,6,1,1.12890115337151675234e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,4,2,5.79073090952143654241e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,6,2,6.28901153371516641321e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,1,2,9.09872218924248188365e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,4,3,4.12406424285476969071e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,7,1,1.07907309095214376526e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,7,2,5.79073090952143654241e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,7,3,4.12406424285476969071e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,7,4,3.29073090952143654241e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,7,5,2.79073090952143665344e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,7,6,2.45739757618810311656e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,7,7,2.21930233809286503454e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,7,8,2.04073090952143654241e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,8,1,1.0638777859395998071e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,9,1,1.06569508613739216684e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,10,1,1.80300286600870030007e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(22,8,2,5.63877785939599807107e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(23,8,3,3.97211119272933121937e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'x',4.09872218924248188365e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(2,2,'x',9.37830732251390242204e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(3,3,'x',8.47077819074987581338e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(4,4,'x',7.90730909521436542419e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,5,'x',7.32797563604642321344e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(6,6,'x',1.28901153371516641321e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(7,7,'x',7.90730909521436542419e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(8,8,'x',6.38777859395998071079e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(9,9,'x',6.56950861373921668473e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(10,10,'x',8.03002866008700300071e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(2,1,'stint','[1, 2]');
INSERT INTO "trial_user_attributes" VALUES(3,1,'candidate','{"x": 0.4098722189242482}');
INSERT INTO "trial_user_attributes" VALUES(4,1,'fingerprint','"1729f8cda61aba95"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'seed','7811126427891201698');
INSERT INTO "trial_user_attributes" VALUES(6,1,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(7,1,'paused','2');
INSERT INTO "trial_user_attributes" VALUES(8,2,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(9,2,'stint','[0, 1]');
INSERT INTO "trial_user_attributes" VALUES(10,2,'candidate','{"x": 0.9378307322513902}');
INSERT INTO "trial_user_attributes" VALUES(11,2,'fingerprint','"7aa9d23465a179b2"');
INSERT INTO "trial_user_attributes" VALUES(12,2,'seed','5913573432495832612');
INSERT INTO "trial_user_attributes" VALUES(13,2,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(14,2,'paused','1');
INSERT INTO "trial_user_attributes" VALUES(15,3,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(16,3,'stint','[0, 1]');
INSERT INTO "trial_user_attributes" VALUES(17,3,'candidate','{"x": 0.8470778190749876}');
INSERT INTO "trial_user_attributes" VALUES(18,3,'fingerprint','"997909ed9d312c0b"');
INSERT INTO "trial_user_attributes" VALUES(19,3,'seed','7015308074739671766');
INSERT INTO "trial_user_attributes" VALUES(20,3,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(21,3,'paused','1');
INSERT INTO "trial_user_attributes" VALUES(22,4,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(23,4,'stint','[2, 4]');
INSERT INTO "trial_user_attributes" VALUES(24,4,'candidate','{"x": 0.07907309095214365}');
INSERT INTO "trial_user_attributes" VALUES(25,4,'fingerprint','"33c10de0ecc7f63a"');
INSERT INTO "trial_user_attributes" VALUES(26,4,'seed','8491553269883424572');
INSERT INTO "trial_user_attributes" VALUES(27,4,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(28,4,'paused','2');
INSERT INTO "trial_user_attributes" VALUES(29,5,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(30,5,'stint','[0, 1]');
INSERT INTO "trial_user_attributes" VALUES(31,5,'candidate','{"x": 0.7327975636046423}');
INSERT INTO "trial_user_attributes" VALUES(32,5,'fingerprint','"3c2d2680745f3d6e"');
INSERT INTO "trial_user_attributes" VALUES(33,5,'seed','2610998491898085279');
INSERT INTO "trial_user_attributes" VALUES(34,5,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(35,5,'paused','1');
INSERT INTO "trial_user_attributes" VALUES(36,6,'worker','{"host": "HOST", "pid": 11815}');
INSERT INTO "trial_user_attributes" VALUES(37,6,'stint','[1, 2]');
INSERT INTO "trial_user_attributes" VALUES(38,6,'candidate','{"x": 0.12890115337151664}');
INSERT INTO "trial_user_attributes" VALUES(39,6,'fingerprint','"914fb8b4940327af"');
INSERT INTO "trial_user_attributes" VALUES(40,6,'seed','2070896057508569846');
INSERT INTO "trial_user_attributes" VALUES(41,6,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(42,6,'paused','2');
INSERT INTO "trial_user_attributes" VALUES(43,1,'reason','"waited at 2 epochs for promotion"');
INSERT INTO "trial_user_attributes" VALUES(44,2,'reason','"waited at 1 epochs for promotion"');
INSERT INTO "trial_user_attributes" VALUES(45,3,'reason','"waited at 1 epochs for promotion"');
INSERT INTO "trial_user_attributes" VALUES(46,4,'reason','"its process ended"');
INSERT INTO "trial_user_attributes" VALUES(47,5,'reason','"waited at 1 epochs for promotion"');
INSERT INTO "trial_user_attributes" VALUES(48,6,'reason','"waited at 2 epochs for promotion"');
INSERT INTO "trial_user_attributes" VALUES(49,7,'candidate','{"x": 0.07907309095214365}');
INSERT INTO "trial_user_attributes" VALUES(50,7,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(51,7,'fingerprint','"33c10de0ecc7f63a"');
INSERT INTO "trial_user_attributes" VALUES(52,7,'paused','0');
INSERT INTO "trial_user_attributes" VALUES(53,7,'reason','"full length"');
INSERT INTO "trial_user_attributes" VALUES(54,7,'seed','8491553269883424572');
INSERT INTO "trial_user_attributes" VALUES(55,7,'stint','[4, 8]');
INSERT INTO "trial_user_attributes" VALUES(56,7,'worker','{"host": "HOST", "pid": 11821}');
INSERT INTO "trial_user_attributes" VALUES(57,7,'continues','3');
INSERT INTO "trial_user_attributes" VALUES(58,8,'worker','{"host": "HOST", "pid": 999999999}');
INSERT INTO "trial_user_attributes" VALUES(59,8,'stint','[2, 4]');
INSERT INTO "trial_user_attributes" VALUES(60,8,'candidate','{"x": 0.06387778593959981}');
INSERT INTO "trial_user_attributes" VALUES(61,8,'fingerprint','"5c50ade3f45d0c27"');
INSERT INTO "trial_user_attributes" VALUES(62,8,'seed','7529278004763848260');
INSERT INTO "trial_user_attributes" VALUES(63,8,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(64,8,'paused','0');
INSERT INTO "trial_user_attributes" VALUES(65,9,'worker','{"host": "HOST", "pid": 999999999}');
INSERT INTO "trial_user_attributes" VALUES(66,9,'stint','[0, 1]');
INSERT INTO "trial_user_attributes" VALUES(67,9,'candidate','{"x": 0.06569508613739217}');
INSERT INTO "trial_user_attributes" VALUES(68,9,'fingerprint','"02d5dd997ca053d3"');
INSERT INTO "trial_user_attributes" VALUES(69,9,'seed','242188882856966271');
INSERT INTO "trial_user_attributes" VALUES(70,9,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(71,9,'paused','1');
INSERT INTO "trial_user_attributes" VALUES(72,10,'worker','{"host": "HOST", "pid": 999999999}');
INSERT INTO "trial_user_attributes" VALUES(73,10,'stint','[0, 1]');
INSERT INTO "trial_user_attributes" VALUES(74,10,'candidate','{"x": 0.8030028660087003}');
INSERT INTO "trial_user_attributes" VALUES(75,10,'fingerprint','"a3141761e739e3b6"');
INSERT INTO "trial_user_attributes" VALUES(76,10,'seed','6573244248986076605');
INSERT INTO "trial_user_attributes" VALUES(77,10,'epoch_seconds','0.0');
INSERT INTO "trial_user_attributes" VALUES(78,10,'paused','1');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,9.09872218924248188365e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.93783073225139013118e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,1.84707781907498747031e+00,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,4.12406424285476969071e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,1.73279756360464221032e+00,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,6.28901153371516641321e-01,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,2.04073090952143654241e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'PRUNED','2026-11-21 15:15:23.121362','2026-11-21 15:15:26.012622');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-21 15:15:23.143883','2026-11-21 15:15:26.021333');
INSERT INTO "trials" VALUES(3,2,1,'PRUNED','2026-11-21 15:15:23.153122','2026-11-21 15:15:26.029379');
INSERT INTO "trials" VALUES(4,3,1,'PRUNED','2026-11-21 15:15:23.161759','2026-11-21 15:15:26.033779');
INSERT INTO "trials" VALUES(5,4,1,'PRUNED','2026-11-21 15:15:23.170369','2026-11-21 15:15:26.036919');
INSERT INTO "trials" VALUES(6,5,1,'PRUNED','2026-11-21 15:15:23.178948','2026-11-21 15:15:26.040068');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-21 15:15:26.086719','2026-11-21 15:15:26.116337');
INSERT INTO "trials" VALUES(8,7,1,'RUNNING','2026-11-21 15:15:29.377934',NULL);
INSERT INTO "trials" VALUES(9,8,1,'RUNNING','2026-11-21 15:15:29.396910',NULL);
INSERT INTO "trials" VALUES(10,9,1,'RUNNING','2026-11-21 15:15:29.407592',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
