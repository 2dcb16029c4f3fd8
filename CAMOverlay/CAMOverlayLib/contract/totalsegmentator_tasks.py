"""What TotalSegmentator's tasks are: their Datasets, resolutions, crops, and the names of their classes.

Facts from the source of TotalSegmentator 2.18 (https://github.com/wasserth/TotalSegmentator, Apache-2.0):
``map_tasks_config.py`` (TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS), ``map_to_binary.py`` (class_map, class_map_5_parts and
the like, auxiliary classes with the others) and ``bin/totalseg_download_weights.py`` (TASK_TO_ID). Spacings are in mm
along R, A and S.
"""

from __future__ import annotations

from dataclasses import dataclass

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Task:
    """One thing that TotalSegmentator can be asked for.

    Attributes:
        name: as its option ``task`` has it, with ``fast`` and ``fastest`` where these take other weights.
        datasets: numbers of the Datasets whose networks share the classes, in order.
        spacing: mm to which the volume is resampled; None leaves it as it is.
        trainer, configuration: of the trained folder that is taken where a Dataset holds several.
        crops_to: classes of a rough model; the volume is first cropped to what that finds of them.
        all_folds: every fold answers, not only the first.
        download: what ``totalseg_download_weights -t`` calls it, where that is not ``name``.
        licensed: its weights need a licence.
    """

    name: str
    datasets: tuple[int, ...]
    spacing: Spacing | None
    trainer: str = "nnUNetTrainer"
    configuration: str = "3d_fullres"
    crops_to: tuple[str, ...] = ()
    all_folds: bool = False
    download: str = ""
    licensed: bool = False


def classes_of(number: int) -> tuple[str, ...]:
    """Names of the outputs of a Dataset's network, without the background."""
    own = _CLASSES.get(number)
    return tuple(own.split()) if own else tuple(name for part in _MADE_OF[number] for name in classes_of(part))


LUNG = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
NECK = ("clavicula_left", "clavicula_right", "vertebrae_C1", "vertebrae_C5", "vertebrae_T1", "vertebrae_T4")
HIGH = "3d_fullres_high"

TASKS = (
    Task("total", (291, 292, 293, 294, 295), (1.5, 1.5, 1.5), trainer="nnUNetTrainerNoMirroring"),
    Task("total_fast", (297,), (3.0, 3.0, 3.0), trainer="nnUNetTrainer_4000epochs_NoMirroring"),
    Task(
        "total_fastest", (298,), (6.0, 6.0, 6.0), trainer="nnUNetTrainer_4000epochs_NoMirroring", download="total_fast"
    ),
    Task("total_v3", (831, 832, 833, 834, 835), (1.5, 1.5, 1.5), trainer="nnUNetTrainerNoMirroring"),
    Task("total_v3_fast", (836,), (3.0, 3.0, 3.0), trainer="nnUNetTrainer_4000epochs_NoMirroring"),
    Task(
        "total_v3_fastest",
        (837,),
        (6.0, 6.0, 6.0),
        trainer="nnUNetTrainer_4000epochs_NoMirroring",
        download="total_v3_fast",
    ),
    Task("total_mr", (850, 851), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_2000epochs_NoMirroring"),
    Task("total_fast_mr", (852,), (3.0, 3.0, 3.0), trainer="nnUNetTrainer_2000epochs_NoMirroring"),
    Task(
        "total_fastest_mr",
        (853,),
        (6.0, 6.0, 6.0),
        trainer="nnUNetTrainer_2000epochs_NoMirroring",
        download="total_fast_mr",
    ),
    Task("body", (299,), (1.5, 1.5, 1.5)),
    Task("body_fast", (300,), (6.0, 6.0, 6.0)),
    Task("body_mr", (597,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0"),
    Task("body_mr_fast", (598,), (6.0, 6.0, 6.0), trainer="nnUNetTrainer_DASegOrd0"),
    Task("lung_vessels", (117,), (0.703125, 0.703125, 1.0), trainer="nnUNetTrainerSkeletonRecall", crops_to=LUNG),
    Task("lung_vessels_LEGACY", (258,), None, crops_to=LUNG),
    Task("cerebral_bleed", (150,), None, crops_to=("brain",)),
    Task("hip_implant", (260,), None, crops_to=("femur_left", "femur_right", "hip_left", "hip_right")),
    Task("vertebrae_mr", (756,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0_NoMirroring"),
    Task("pleural_pericard_effusion", (315,), None, crops_to=LUNG, all_folds=True),
    Task("liver_vessels", (8,), None, crops_to=("liver",)),
    Task(
        "head_glands_cavities",
        (775,),
        (0.75, 0.75, 1.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=("skull",),
    ),
    Task(
        "headneck_bones_vessels",
        (776,),
        (0.75, 0.75, 1.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=NECK,
    ),
    Task(
        "head_muscles",
        (777,),
        (0.75, 0.75, 1.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=("skull",),
    ),
    Task(
        "headneck_muscles",
        (778, 779),
        (0.75, 0.75, 1.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=NECK,
    ),
    Task(
        "oculomotor_muscles",
        (351,),
        (0.47251562774181366, 0.47251562774181366, 0.8500002026557922),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        crops_to=("skull",),
    ),
    Task(
        "lung_nodules", (913,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring", crops_to=LUNG
    ),
    Task(
        "kidney_cysts",
        (789,),
        (1.5, 1.5, 1.5),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        crops_to=("kidney_left", "kidney_right", "liver", "spleen", "colon"),
    ),
    Task("breasts", (527,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0_NoMirroring"),
    Task(
        "ventricle_parts",
        (552,),
        (0.4384765625, 0.4345703125, 1.0),
        trainer="nnUNetTrainerNoMirroring",
        crops_to=("brain",),
    ),
    Task(
        "liver_segments",
        (570,),
        (0.8046879768371582, 0.8046879768371582, 1.5),
        trainer="nnUNetTrainerNoMirroring",
        crops_to=("liver",),
    ),
    Task(
        "liver_segments_mr",
        (576,),
        (1.1250001788139343, 1.1875, 3.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        crops_to=("liver",),
    ),
    Task("liver_lesions", (591,), (0.75, 0.75, 1.0), configuration=HIGH, crops_to=("liver",)),
    Task(
        "liver_lesions_mr",
        (589,),
        (0.8603515625, 0.857421875, 1.0),
        trainer="nnUNetTrainer_DASegOrd0",
        crops_to=("liver",),
    ),
    Task(
        "craniofacial_structures",
        (115,),
        (0.5, 0.5, 0.5),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        crops_to=("skull",),
    ),
    Task(
        "abdominal_muscles",
        (952,),
        (0.75, 0.75, 1.0),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=("body_trunc",),
    ),
    Task(
        "teeth",
        (113,),
        (0.5, 0.5, 0.5),
        trainer="nnUNetTrainer_onlyMirror01",
        configuration="3d_lowres_high",
        crops_to=("teeth_lower", "teeth_upper"),
    ),
    Task("trunk_cavities", (343,), (1.5, 1.5, 1.5)),
    Task(
        "brain_aneurysm",
        (615,),
        (0.390625, 0.390625, 0.5000016391277313),
        trainer="nnUNetTrainerDiceTopK10Loss_2000epochs",
        all_folds=True,
    ),
    Task("vertebrae_body", (305,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0"),
    Task("vertebrae_pp", (803,), (1.5, 1.5, 1.5), trainer="nnUNetTrainerNoMirroring"),
    Task("heartchambers_highres", (301,), None, crops_to=("heart",), licensed=True),
    Task("appendicular_bones", (304,), (1.5, 1.5, 1.5), trainer="nnUNetTrainerNoMirroring", licensed=True),
    Task(
        "appendicular_bones_mr", (855,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_2000epochs_NoMirroring", licensed=True
    ),
    Task("tissue_types", (481,), (1.5, 1.5, 1.5), licensed=True),
    Task("tissue_types_mr", (925,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0_NoMirroring", licensed=True),
    Task("tissue_4_types", (485,), (1.5, 1.5, 1.5), licensed=True),
    Task("face", (303,), (1.5, 1.5, 1.5), trainer="nnUNetTrainerNoMirroring", licensed=True),
    Task("face_mr", (856,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_2000epochs_NoMirroring", licensed=True),
    Task(
        "brain_structures",
        (409,),
        (0.5, 0.5, 1.0),
        trainer="nnUNetTrainer_DASegOrd0",
        configuration=HIGH,
        crops_to=("brain",),
        licensed=True,
    ),
    Task(
        "thigh_shoulder_muscles", (857,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_2000epochs_NoMirroring", licensed=True
    ),
    Task(
        "coronary_arteries",
        (509,),
        (0.7, 0.7, 0.7),
        trainer="nnUNetTrainerSkeletonRecall",
        configuration=HIGH,
        crops_to=("heart",),
        licensed=True,
    ),
    Task(
        "coronary_arteries_LEGACY",
        (507,),
        (0.7, 0.7, 0.7),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=("heart",),
        licensed=True,
    ),
    Task(
        "aortic_sinuses",
        (920,),
        (0.7, 0.7, 0.7),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        crops_to=("heart",),
        licensed=True,
    ),
    Task("renal_arteries", (710,), (1.5, 1.5, 1.5), trainer="nnUNetTrainer_DASegOrd0_NoMirroring", licensed=True),
    Task(
        "aorta_annulus",
        (713,),
        (0.8, 0.8, 0.8),
        trainer="nnUNetTrainer_DASegOrd0",
        configuration=HIGH,
        all_folds=True,
        licensed=True,
    ),
    Task(
        "aortic_dissection",
        (716,),
        (0.8, 0.8, 0.8),
        trainer="nnUNetTrainer_DASegOrd0_NoMirroring",
        configuration=HIGH,
        all_folds=True,
        licensed=True,
    ),
    Task("pulmonary_artery_landmarks", (514,), (0.7802734375, 0.7802734375, 1.0), all_folds=True, licensed=True),
)
"""In the order in which a class is looked for: the finest first of each body region."""

FOLDERS = {
    291: "Dataset291_TotalSegmentator_part1_organs_1559subj",
    292: "Dataset292_TotalSegmentator_part2_vertebrae_1532subj",
    293: "Dataset293_TotalSegmentator_part3_cardiac_1559subj",
    294: "Dataset294_TotalSegmentator_part4_muscles_1559subj",
    295: "Dataset295_TotalSegmentator_part5_ribs_1559subj",
    297: "Dataset297_TotalSegmentator_total_3mm_1559subj",
    298: "Dataset298_TotalSegmentator_total_6mm_1559subj",
    831: "Dataset831_TotalSegmentator_part1_organs_1830subj",
    832: "Dataset832_TotalSegmentator_part2_vertebrae_1559subj",
    833: "Dataset833_TotalSegmentator_part3_cardiac_1830subj",
    834: "Dataset834_TotalSegmentator_part4_muscles_1830subj",
    835: "Dataset835_TotalSegmentator_part5_ribs_1559subj",
    836: "Dataset836_TotalSegmentator_total_3mm_1559subj",
    837: "Dataset837_TotalSegmentator_total_6mm_1559subj",
    850: "Dataset850_TotalSegMRI_part1_organs_1088subj",
    851: "Dataset851_TotalSegMRI_part2_muscles_1088subj",
    852: "Dataset852_TotalSegMRI_total_3mm_1088subj",
    853: "Dataset853_TotalSegMRI_total_6mm_1088subj",
    299: "Dataset299_body_1559subj",
    300: "Dataset300_body_6mm_1559subj",
    597: "Dataset597_mri_body_139subj",
    598: "Dataset598_mri_body_6mm_139subj",
    117: "Dataset117_lung_airways_arteries_veins_282subj",
    258: "Dataset258_lung_vessels_248subj",
    150: "Dataset150_icb_v0",
    260: "Dataset260_hip_implant_71subj",
    756: "Dataset756_mri_vertebrae_1076subj",
    315: "Dataset315_thoraxCT",
    8: "Dataset008_HepaticVessel",
    775: "Dataset775_head_glands_cavities_492subj",
    776: "Dataset776_headneck_bones_vessels_492subj",
    777: "Dataset777_head_muscles_492subj",
    778: "Dataset778_headneck_muscles_part1_492subj",
    779: "Dataset779_headneck_muscles_part2_492subj",
    351: "Dataset351_oculomotor_muscles_18subj",
    913: "Dataset913_lung_nodules",
    789: "Dataset789_kidney_cyst_501subj",
    527: "Dataset527_breasts_1559subj",
    552: "Dataset552_ventricle_parts_38subj",
    570: "Dataset570_ct_liver_segments",
    576: "Dataset576_mri_liver_segments_120subj",
    591: "Dataset591_ct_liver_lesions_842subj",
    589: "Dataset589_ct_mri_liver_lesions_750subj",
    115: "Dataset115_mandible",
    952: "Dataset952_abdominal_muscles_167subj",
    113: "Dataset113_ToothFairy3",
    343: "Dataset343_mediastinum_1786subj",
    615: "Dataset615_MAXIMUS",
    305: "Dataset305_vertebrae_discs_1559subj",
    803: "Dataset803_TotalSegmentator_vertebrae_inner_1559subj",
    301: "Dataset301_heart_highres_1559subj",
    304: "Dataset304_appendicular_bones_ext_1559subj",
    855: "Dataset855_TotalSegMRI_appendicular_bones_1088subj",
    481: "Dataset481_tissue_1559subj",
    925: "Dataset925_MRI_tissue_subset_903subj",
    485: "Dataset485_tissue_4types_1559subj",
    303: "Dataset303_face_1559subj",
    856: "Dataset856_TotalSegMRI_face_1088subj",
    409: "Dataset409_neuro_550subj",
    857: "Dataset857_TotalSegMRI_thigh_shoulder_1088subj",
    509: "Dataset509_coronary_arteries_cm_nativ_400subj_SKELETON",
    507: "Dataset507_coronary_arteries_cm_nativ_400subj",
    920: "Dataset920_aortic_sinuses_cm_nativ_400subj",
    710: "Dataset710_renal_arteries_127subj",
    713: "Dataset713_annulus_proper_48subj",
    716: "Dataset716_aorta_true_false_lumen_171subj",
    514: "Dataset514_annulus_pulmonary_70subj",
}
"""Names of the newest weights by number; each begins with ``Dataset`` and the number in three digits."""

_MADE_OF = {
    297: (291, 292, 293, 294, 295),
    298: (297,),
    831: (291,),
    833: (293,),
    834: (294,),
    835: (295,),
    836: (831, 832, 833, 834, 835),
    837: (836,),
    852: (850, 851),
    853: (852,),
    300: (299,),
    597: (299,),
    598: (299,),
    576: (570,),
    589: (591,),
    925: (481,),
    507: (509,),
}
"""Datasets with the classes of others, one after the other."""

_CLASSES = {
    291: """
        spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
        lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right
        esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left
        kidney_cyst_right
    """,
    292: """
        sacrum vertebrae_S1 vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1 vertebrae_T12 vertebrae_T11
        vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7 vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3
        vertebrae_T2 vertebrae_T1 vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2
        vertebrae_C1
    """,
    293: """
        heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left
        common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right
        atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left
        iliac_artery_right iliac_vena_left iliac_vena_right
    """,
    294: """
        humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right
        hip_left hip_right spinal_cord gluteus_maximus_left gluteus_maximus_right gluteus_medius_left
        gluteus_medius_right gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left
        iliopsoas_right brain skull
    """,
    295: """
        rib_left_1 rib_left_2 rib_left_3 rib_left_4 rib_left_5 rib_left_6 rib_left_7 rib_left_8 rib_left_9 rib_left_10
        rib_left_11 rib_left_12 rib_right_1 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6 rib_right_7
        rib_right_8 rib_right_9 rib_right_10 rib_right_11 rib_right_12 sternum costal_cartilages
    """,
    832: """
        sacrum vertebrae_L6 vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1 vertebrae_T12 vertebrae_T11
        vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7 vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3
        vertebrae_T2 vertebrae_T1 vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2
        vertebrae_C1
    """,
    850: """
        spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
        lung_left lung_right esophagus small_bowel duodenum colon urinary_bladder prostate sacrum vertebrae
        intervertebral_discs spinal_cord heart aorta inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left
        iliac_artery_right iliac_vena_left iliac_vena_right
    """,
    851: """
        humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right
        hip_left hip_right gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right
        gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain
    """,
    299: "body_trunc body_extremities",
    117: "lung_airways lung_airways_wall lung_arteries lung_veins",
    258: "lung_vessels lung_trachea_bronchia",
    150: "intracerebral_hemorrhage",
    260: "hip_implant",
    756: """
        sacrum vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1 vertebrae_T12 vertebrae_T11
        vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7 vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3
        vertebrae_T2 vertebrae_T1 vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2
        vertebrae_C1
    """,
    315: "lung_pleural pleural_effusion pericardial_effusion",
    8: "liver_vessels liver_tumor",
    775: """
        eye_left eye_right eye_lens_left eye_lens_right optic_nerve_left optic_nerve_right parotid_gland_left
        parotid_gland_right submandibular_gland_right submandibular_gland_left nasopharynx oropharynx hypopharynx
        nasal_cavity_right nasal_cavity_left auditory_canal_right auditory_canal_left soft_palate hard_palate
    """,
    776: """
        larynx_air thyroid_cartilage hyoid cricoid_cartilage zygomatic_arch_right zygomatic_arch_left
        styloid_process_right styloid_process_left internal_carotid_artery_right internal_carotid_artery_left
        internal_jugular_vein_right internal_jugular_vein_left
    """,
    777: """
        masseter_right masseter_left temporalis_right temporalis_left lateral_pterygoid_right lateral_pterygoid_left
        medial_pterygoid_right medial_pterygoid_left tongue digastric_right digastric_left
    """,
    778: """
        sternocleidomastoid_right sternocleidomastoid_left superior_pharyngeal_constrictor middle_pharyngeal_constrictor
        inferior_pharyngeal_constrictor trapezius_right trapezius_left platysma_right platysma_left
        levator_scapulae_right levator_scapulae_left
    """,
    779: """
        anterior_scalene_right anterior_scalene_left middle_scalene_right middle_scalene_left posterior_scalene_right
        posterior_scalene_left sterno_thyroid_right sterno_thyroid_left thyrohyoid_right thyrohyoid_left
        prevertebral_right prevertebral_left
    """,
    351: """
        skull eyeball_right lateral_rectus_muscle_right superior_oblique_muscle_right levator_palpebrae_superioris_right
        superior_rectus_muscle_right medial_rectus_muscle_left inferior_oblique_muscle_right
        inferior_rectus_muscle_right optic_nerve_left eyeball_left lateral_rectus_muscle_left
        superior_oblique_muscle_left levator_palpebrae_superioris_left superior_rectus_muscle_left
        medial_rectus_muscle_right inferior_oblique_muscle_left inferior_rectus_muscle_left optic_nerve_right
    """,
    913: "lung lung_nodules",
    789: "kidney_cyst_left kidney_cyst_right kidney_left kidney_right",
    527: "breast",
    552: """
        ventricle_frontal_horn_left ventricle_occipital_horn_left ventricle_body_left ventricle_temporal_horn_left
        ventricle_trigone_left ventricle_frontal_horn_right ventricle_occipital_horn_right ventricle_body_right
        ventricle_temporal_horn_right ventricle_trigone_right third_ventricle fourth_ventricle
    """,
    570: """
        liver_segment_1 liver_segment_2 liver_segment_3 liver_segment_4 liver_segment_5 liver_segment_6 liver_segment_7
        liver_segment_8
    """,
    591: "liver_lesions",
    115: "mandible teeth_lower skull head sinus_maxillary sinus_frontal teeth_upper",
    952: """
        pectoralis_major_right pectoralis_major_left rectus_abdominis_right rectus_abdominis_left
        serratus_anterior_right serratus_anterior_left latissimus_dorsi_right latissimus_dorsi_left trapezius_right
        trapezius_left external_oblique_right external_oblique_left internal_oblique_right internal_oblique_left
        erector_spinae_right erector_spinae_left transversospinalis_right transversospinalis_left psoas_major_right
        psoas_major_left quadratus_lumborum_right quadratus_lumborum_left
    """,
    113: """
        lower_jawbone upper_jawbone left_inferior_alveolar_canal right_inferior_alveolar_canal left_maxillary_sinus
        right_maxillary_sinus pharynx bridge crown implant upper_right_central_incisor_fdi11
        upper_right_lateral_incisor_fdi12 upper_right_canine_fdi13 upper_right_first_premolar_fdi14
        upper_right_second_premolar_fdi15 upper_right_first_molar_fdi16 upper_right_second_molar_fdi17
        upper_right_third_molar_fdi18 upper_left_central_incisor_fdi21 upper_left_lateral_incisor_fdi22
        upper_left_canine_fdi23 upper_left_first_premolar_fdi24 upper_left_second_premolar_fdi25
        upper_left_first_molar_fdi26 upper_left_second_molar_fdi27 upper_left_third_molar_fdi28
        lower_left_central_incisor_fdi31 lower_left_lateral_incisor_fdi32 lower_left_canine_fdi33
        lower_left_first_premolar_fdi34 lower_left_second_premolar_fdi35 lower_left_first_molar_fdi36
        lower_left_second_molar_fdi37 lower_left_third_molar_fdi38 lower_right_central_incisor_fdi41
        lower_right_lateral_incisor_fdi42 lower_right_canine_fdi43 lower_right_first_premolar_fdi44
        lower_right_second_premolar_fdi45 lower_right_first_molar_fdi46 lower_right_second_molar_fdi47
        lower_right_third_molar_fdi48 left_mandibular_incisive_canal_fdi103 right_mandibular_incisive_canal_fdi104
        lingual_canal upper_right_central_incisor_pulp_fdi111 upper_right_lateral_incisor_pulp_fdi112
        upper_right_canine_pulp_fdi113 upper_right_first_premolar_pulp_fdi114 upper_right_second_premolar_pulp_fdi115
        upper_right_first_molar_pulp_fdi116 upper_right_second_molar_pulp_fdi117 upper_right_third_molar_pulp_fdi118
        upper_left_central_incisor_pulp_fdi121 upper_left_lateral_incisor_pulp_fdi122 upper_left_canine_pulp_fdi123
        upper_left_first_premolar_pulp_fdi124 upper_left_second_premolar_pulp_fdi125 upper_left_first_molar_pulp_fdi126
        upper_left_second_molar_pulp_fdi127 upper_left_third_molar_pulp_fdi128 lower_left_central_incisor_pulp_fdi131
        lower_left_lateral_incisor_pulp_fdi132 lower_left_canine_pulp_fdi133 lower_left_first_premolar_pulp_fdi134
        lower_left_second_premolar_pulp_fdi135 lower_left_first_molar_pulp_fdi136 lower_left_second_molar_pulp_fdi137
        lower_left_third_molar_pulp_fdi138 lower_right_central_incisor_pulp_fdi141
        lower_right_lateral_incisor_pulp_fdi142 lower_right_canine_pulp_fdi143 lower_right_first_premolar_pulp_fdi144
        lower_right_second_premolar_pulp_fdi145 lower_right_first_molar_pulp_fdi146 lower_right_second_molar_pulp_fdi147
        lower_right_third_molar_pulp_fdi148
    """,
    343: "abdominal_cavity thoracic_cavity pericardium mediastinum",
    615: "brain_aneurysm",
    305: "vertebrae_body intervertebral_discs",
    803: """
        vertebrae_C1 vertebrae_C2 vertebrae_C3 vertebrae_C4 vertebrae_C5 vertebrae_C6 vertebrae_C7 vertebrae_T1
        vertebrae_T2 vertebrae_T3 vertebrae_T4 vertebrae_T5 vertebrae_T6 vertebrae_T7 vertebrae_T8 vertebrae_T9
        vertebrae_T10 vertebrae_T11 vertebrae_T12 vertebrae_L1 vertebrae_L2 vertebrae_L3 vertebrae_L4 vertebrae_L5
    """,
    301: """
        heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right aorta
        pulmonary_artery
    """,
    304: """
        patella tibia fibula tarsal metatarsal phalanges_feet ulna radius carpal metacarpal phalanges_hand humerus femur
        liver spleen
    """,
    855: "patella tibia fibula tarsal metatarsal phalanges_feet ulna radius",
    481: "subcutaneous_fat torso_fat skeletal_muscle",
    485: "subcutaneous_fat torso_fat skeletal_muscle intermuscular_fat",
    303: "face",
    856: "face brain liver",
    409: """
        brainstem subarachnoid_space venous_sinuses septum_pellucidum cerebellum caudate_nucleus lentiform_nucleus
        insular_cortex internal_capsule ventricle central_sulcus frontal_lobe parietal_lobe occipital_lobe temporal_lobe
        thalamus
    """,
    857: """
        quadriceps_femoris_left quadriceps_femoris_right thigh_medial_compartment_left thigh_medial_compartment_right
        thigh_posterior_compartment_left thigh_posterior_compartment_right sartorius_left sartorius_right deltoid
        supraspinatus infraspinatus subscapularis coracobrachial trapezius pectoralis_minor serratus_anterior
        teres_major triceps_brachii
    """,
    509: "coronary_arteries",
    920: "left_ventricular_outflow_tract right_coronary_cusp left_coronary_cusp non_coronary_cusp",
    710: "celiac_trunk superior_mesenteric_artery renal_arteries aorta",
    713: "annulus_proper sinotubular_junction",
    716: "aorta_true_lumen aorta_false_lumen",
    514: """
        annulus sinotubular_junction pul_annulus pul_sinotubular_junction pul_bifurcation pul_left_start pul_right_start
    """,
}
